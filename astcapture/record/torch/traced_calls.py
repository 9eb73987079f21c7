"""Calls of fused attention, other than torch's own, in code that torch.compile traces.

What a call is, and what flex attention was given, is read from what the compiler knows of it; no code of the program
runs for that. The weights are computed after the compiled code has run, from copies of the arguments.
"""

from __future__ import annotations

import copy
import sys
import threading
from contextlib import suppress
from functools import partial
from typing import Any

from astcapture.record.torch import compiled, flex, fused_calls
from astcapture.record.torch.call_weights import CallWeights
from astcapture.record.torch.carried import NoValue

_PARTIAL = "the call is of a partial of compiled attention: put torch.compile outside of functools.partial"
_NO_GRAPH = "this version of torch does not show what flex attention computes in compiled code"
_BIAS = "the bias of the call is an object whose values are not known in compiled code: run it without torch.compile"


class _Seen(threading.local):
    """What is known of the traced call."""

    kind: str | None = None
    names: tuple[str, ...] = ()
    wraps_partial = False


_seen = _Seen()


# --- traced by the compiler


def kind_of(callee: Any) -> str | None:
    """As `fused_calls.kind_of`."""
    from torch import compiler
    from torch._dynamo.comptime import comptime

    if not compiler.is_compiling():
        return fused_calls.kind_of(callee)  # nobody looks then
    comptime(_look)
    return _kind()


def given_to(callee: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """As `fused_calls.by_name`, of the callee that `kind_of` has looked at."""
    while isinstance(callee, partial):
        arguments, options = (*callee.args, *arguments), {**callee.keywords, **options}
        callee = callee.func
    return {**dict(zip(_names(), arguments)), **options}  # noqa: B905


def weights_of(kind: str, given: dict[str, Any], sinks: Any) -> Any:
    """In place of the weights of a call: an object with copies of its arguments; or why there are none."""
    if _wraps_partial():
        return NoValue(_PARTIAL)
    call = fused_calls.parts_of(kind, given)
    if kind == fused_calls.FLEX:
        found = _flex_in_graph()
        if found is None:
            return NoValue(_NO_GRAPH)
        call = {
            "query": call["query"],
            "key": call["key"],
            "scale": call["scale"],
            "graphs": found[0],
            "score_tensors": found[1],
            "mask_tensors": found[2],
            "blocks": flex.block_mask_of(call["block_mask"]),
        }
    else:
        why = fused_calls.why_unknown(kind, given)
        if why is not None:
            return NoValue(why)
        if kind == fused_calls.XFORMERS and hasattr(call["bias"], "materialize"):
            return NoValue(_BIAS)
        call = {name: value for name, value in call.items() if name != "value"}
    if sinks is not None:
        call["sinks"] = sinks
    return CallWeights(kind, {name: compiled.snapshot(value) for name, value in call.items()})


def _flex_in_graph() -> Any:
    """The number of the functions of the last call of flex attention, and the tensors that each reads."""
    from torch._dynamo.comptime import comptime

    found = None
    comptime(_find)
    return found


# --- run by the compiler as it traces


def _kind() -> str | None:
    return _seen.kind


def _names() -> tuple[str, ...]:
    return _seen.names


def _wraps_partial() -> bool:
    return _seen.wraps_partial


_ANSWERS: tuple[Any, ...] = (_kind, _names, _wraps_partial)
for _answer in _ANSWERS:
    _answer._dynamo_marked_constant = True


def _look(context: Any) -> None:
    _seen.kind, _seen.names, _seen.wraps_partial = None, (), False
    try:
        variable = context.get_local("callee")._i_will_not_complain_if_bc_breaks_VariableTracker()
        callee = _python_object(variable)
        kind = fused_calls.kind_of(callee)
        if kind is not None:
            _seen.kind, _seen.names = kind, fused_calls.parameters(callee)
            _seen.wraps_partial = fused_calls.has_partial(callee)
    except Exception:
        pass  # it is called as it is, and is no attention that is known


def _python_object(variable: Any) -> Any:
    """The callee that the compiler knows, without the partials that it traces."""
    if hasattr(type(variable), "peek_type"):
        variable = variable.realize()
    while type(variable).__name__ == "FunctoolsPartialVariable":
        variable = variable.func
    for name in ("wrapper_obj", "fn", "value"):
        found = getattr(variable, name, None)
        if callable(found):
            return found
    return None


def _find(context: Any) -> None:
    """Put what `_flex_in_graph` returns into its local."""
    tracer = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    with suppress(Exception):
        tracer.symbolic_locals["found"] = _found(tracer)


def _found(tracer: Any) -> Any:
    torch, variables = sys.modules["torch"], sys.modules["torch._dynamo.variables"]
    output = tracer.output
    node = next(node for node in reversed(output.graph.nodes) if node.target is torch.ops.higher_order.flex_attention)
    score, mask = node.args[3], node.args[4][-1]
    flex.graphs.append((_copied(output, score), _copied(output, mask)))
    tensors = [
        variables.TupleVariable([_variable(tracer, one) for one in given]) for given in (node.args[7], node.args[8])
    ]
    return variables.TupleVariable([variables.ConstantVariable.create(len(flex.graphs) - 1), *tensors])


def _copied(output: Any, node: Any) -> Any:
    """The function of a node; the compiler goes on to change its own."""
    graph = output.nn_modules[node.target]
    return sys.modules["torch"].fx.GraphModule(graph, copy.deepcopy(graph.graph))


def _variable(tracer: Any, node: Any) -> Any:
    """What the compiler knows of a tensor or number in its graph, as a new variable."""
    torch, variables = sys.modules["torch"], sys.modules["torch._dynamo.variables"]
    builder = sys.modules["torch._dynamo.variables.builder"]
    if not isinstance(node, torch.fx.Node):
        return variables.ConstantVariable.create(node)
    proxy = torch.fx.Proxy(node, tracer.output.current_tracer)
    value = node.meta["example_value"]
    if not isinstance(value, torch.Tensor):
        return variables.SymNodeVariable.create(tracer, proxy, value)
    # In ``inference_mode``, torch 2.13 cannot detach a tensor from outside of it, see `carried`.
    apart = torch.detach if torch.is_grad_enabled() else torch.clone
    return builder.wrap_fx_proxy(tracer, tracer.output.create_proxy("call_function", apart, (proxy,), {}))
