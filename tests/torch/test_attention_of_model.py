"""``astcapture.attention(model)``: the maps of this model alone, wherever it is and whoever else captures."""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import astcapture
from astcapture import CaptureError, CaptureWarning
from astcapture.imports import attention as attention_module

# The attention of torch's own layers is exchanged, which is older than the tests.
pytestmark = pytest.mark.all_objects

MHA = "torch.nn.functional:multi_head_attention_forward"
SOURCE = """\
import torch
from torch import nn

from astcapture import capture


class Marked(nn.Module):
    @capture("attn")
    def forward(self, x):
        attn = (x @ x.mT).softmax(-1)
        return attn @ x


class Unmarked(nn.Module):
    def forward(self, x):
        scores = x @ x.mT
        attn_bias = 0
        attn = (scores + attn_bias).softmax(-1)
        return attn @ x


class Fused(nn.Module):
    def forward(self, x):
        return nn.functional.scaled_dot_product_attention(x, x, x)


class Plain(nn.Module):
    def forward(self, x):
        y = x + 1
        return y


def free(x):
    y = x * 2
    return y
"""
X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(x, x, x, need_weights=False)[0]


class Net(nn.Module):
    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def expected(model: Net, x: Tensor) -> list[Tensor]:
    """The maps as torch itself returns them, head by head."""
    found = []
    with torch.no_grad():
        for block in model.blocks:
            found.append(block.attn(x, x, x, need_weights=True, average_attn_weights=False)[1])
            x = block(x)
    return found


@pytest.fixture(autouse=True)
def mymodel(tmp_path: Path, fresh_imports: Any) -> Iterator[Callable[[], Any]]:
    (tmp_path / "mymodel.py").write_text(SOURCE)
    torch._dynamo.reset()
    yield lambda: importlib.import_module("mymodel")
    torch._dynamo.reset()


def assert_maps(maps: astcapture.Records, model: Net, x: Tensor = X) -> None:
    wanted = expected(model, x)
    assert len(maps) == len(wanted)
    for captured, value in zip(maps, wanted, strict=True):
        torch.testing.assert_close(captured, value, rtol=0, atol=1e-6)


def test_a_block_gives_a_map_for_each_layer_and_call_and_leaves_the_cache_alone():
    model = Net()
    with astcapture.attention(model) as maps:
        assert len(maps) == 0
        first = model(X)
        before = len(maps)
        model(X * 2)
        after = len(maps)
    assert (before, after) == (3, 6)
    assert_maps(maps[:3], model)
    assert list(maps.by_layer()) == ["blocks.0.attn", "blocks.1.attn", "blocks.2.attn"]
    assert [record.call for record in maps.records] == [0, 0, 0, 1, 1, 1]
    assert torch.equal(first, model(X))
    assert len(maps) == 6  # the block is over
    assert sum(map(len, astcapture.cache.values())) == 0


def test_of_two_models_only_the_one_is_taken_even_if_they_are_of_one_class():
    model, teacher = Net(), Net(2)
    with astcapture.attention(model) as maps:
        teacher(X)
        model(X)
    assert_maps(maps, model)
    assert {record.model for record in maps.records} == {maps.records[0].model}


def test_a_part_of_a_larger_model_is_taken_by_itself():
    model = Net()
    with astcapture.attention(model.blocks[1]) as maps:
        model(X)
    assert list(maps.by_layer()) == ["blocks.1.attn"]
    assert torch.equal(maps[0], maps.stack()[0])


def test_a_model_that_is_put_into_another_one_inside_of_the_block_is_still_this_model():
    model = Net()
    with astcapture.attention(model) as maps:
        larger = nn.Sequential(nn.Identity(), model)
        larger(X)
    assert_maps(maps, model)


def test_values_that_others_capture_go_where_they_would_have_gone(mymodel):
    module = mymodel()
    with astcapture.install(["mymodel", "@torch-mha"]):
        model, other, marked = Net(), Net(2), module.Marked()
        with astcapture.attention(model) as maps:
            model(X)
            other(X)
            marked(X)
        with astcapture.recording() as rec, astcapture.attention(model) as inside:
            model(X)
            marked(X)
    assert_maps(maps, model)
    assert len(astcapture.cache[MHA]) == 3 + 2
    assert len(astcapture.cache["Marked.forward"]) == 1
    assert_maps(inside, model)
    assert (len(rec[MHA]), len(rec["Marked.forward"])) == (3, 1)


def test_blocks_of_one_model_nest_and_each_has_the_maps():
    model = Net()
    with astcapture.attention(model) as outer:
        model(X)
        with astcapture.attention(model) as inner:
            model(X)
    assert (len(outer), len(inner)) == (6, 3)


def test_each_block_has_its_own_options_and_other_hooks_theirs():
    teacher, student, third = Net(), Net(), Net(1)
    with astcapture.install("@torch-mha", dtype="float64"):
        with astcapture.attention(teacher, layers="blocks.0.*", dtype="float16") as of_teacher:
            with astcapture.attention(student, layers="blocks.2.*", reduce=lambda attn: attn.mean(1)) as of_student:
                for model in (teacher, student, third):
                    model(X)
    assert [(record.layer, record.value.dtype) for record in of_teacher.records] == [("blocks.0.attn", torch.float16)]
    assert [(record.layer, record.value.shape) for record in of_student.records] == [("blocks.2.attn", (2, 5, 5))]
    assert of_student[0].dtype == torch.float32
    # The other hook has every value; those that a block asks for too are converted as the block says.
    kept = astcapture.cache[MHA].records
    assert len(kept) == 3 + 3 + 1
    assert [record.value.dtype for record in kept if record.model == third_name(kept)] == [torch.float64]


def third_name(records: Any) -> str:
    counts: dict[str, int] = {}
    for record in records:
        counts[record.model] = counts.get(record.model, 0) + 1
    return next(name for name, count in counts.items() if count == 1)


def test_a_block_around_another_one_of_the_same_model_keeps_its_layers():
    model = Net()
    with astcapture.attention(model) as outer, astcapture.attention(model, layers="blocks.1.*") as inner:
        model(X)
    assert (len(outer), len(inner)) == (3, 1)


def test_the_gradients_of_a_block_are_kept_when_another_model_has_a_block_inside():
    model, other = Net(1), Net(1)
    with astcapture.attention(model, grad=True) as maps, astcapture.attention(other) as others:
        model(X).sum().backward()
        other(X)
    assert maps.records[0].grad is not None and len(others) == 1


def test_a_recording_inside_of_a_block_takes_the_values():
    model = Net()
    with astcapture.attention(model) as maps:
        with astcapture.recording() as rec:
            model(X)
        model(X)
    assert (len(rec[MHA]), len(maps)) == (3, 3)


@pytest.mark.slow
def test_blocks_in_several_threads_each_have_all_of_their_maps():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    models = [Net() for _ in range(3)]
    short: list[int] = []

    def work(model: Net) -> None:
        for _ in range(4):
            with astcapture.attention(model) as maps:
                model(X)
            if len(maps) != 3:
                short.append(len(maps))

    try:
        threads = [threading.Thread(target=work, args=(model,)) for model in models]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert short == []


def test_reasons_of_one_block_are_none_of_the_next():
    model = Net()
    with pytest.warns(CaptureWarning, match="layers= matches none"), astcapture.attention(model, layers="no.*"):
        model(X)
    with pytest.warns(CaptureWarning, match="no map was captured: it was not called"), astcapture.attention(model):
        pass


def test_a_block_that_cannot_be_entered_leaves_nothing_on(tmp_path, monkeypatch):
    model = Net(1)
    monkeypatch.setattr(attention_module, "ModelRecords", None)
    with pytest.raises(TypeError), astcapture.attention(model):
        pass
    assert not astcapture.imports.hook.finder.by_hook


def test_a_model_that_another_thread_runs_meanwhile_is_not_recorded_for_nobody():
    model = Net()
    entered, done = threading.Event(), threading.Event()

    def serve() -> None:
        entered.wait()
        model(X)
        done.set()

    thread = threading.Thread(target=serve)
    thread.start()
    block = astcapture.attention(model)
    maps = block.__enter__()
    entered.set()
    done.wait()
    with pytest.warns(CaptureWarning, match="no map was captured"):
        block.__exit__(None, None, None)
    thread.join()
    assert len(maps) == 0
    assert len(astcapture.cache[MHA]) == 0


def test_threads_that_are_started_inside_of_the_block_belong_to_it():
    model = Net()
    with astcapture.attention(model) as maps:
        thread = threading.Thread(target=model, args=(X,))
        thread.start()
        thread.join()
    assert_maps(maps, model)


def test_two_tasks_that_share_a_model_each_have_their_own_maps():
    model = Net()
    inputs = [X, X * 2]

    async def look(x: Tensor) -> astcapture.Records:
        with astcapture.attention(model) as maps:
            await asyncio.sleep(0)
            model(x)
            await asyncio.sleep(0)
        return maps

    async def both() -> list[astcapture.Records]:
        return await asyncio.gather(*map(look, inputs))

    for maps, x in zip(asyncio.run(both()), inputs, strict=True):
        assert_maps(maps, model, x)


@pytest.mark.cases(2)
@pytest.mark.parametrize("how", ["compiled", "compiled in place", "data parallel", "compiled before"])
def test_wrapped_and_compiled_models_are_taken(how):
    model = Net()
    wrapped: Any = model
    if how == "data parallel":
        wrapped = nn.DataParallel(model)
    elif how == "compiled in place":
        model.compile(backend="eager", fullgraph=True)
    else:
        wrapped = torch.compile(model, backend="eager", fullgraph=True)
    if how == "compiled before":
        wrapped(X)
    with astcapture.attention(wrapped) as maps:
        wrapped(X)
    with torch._dynamo.config.patch(disable=True):
        assert_maps(maps, model)


def test_training_is_not_changed_and_gradients_are_kept_where_they_are_asked_for():
    torch.manual_seed(0)
    model, plain = Net(2), Net(2)
    plain.load_state_dict(model.state_dict())
    plain(X).sum().backward()
    with astcapture.attention(model, grad=True) as maps:
        model(X).sum().backward()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert all(record.grad.shape == record.value.shape for record in maps.records)


def test_options_are_those_of_install():
    model = Net()
    with astcapture.attention(model, layers="blocks.2.*", dtype="float16", reduce=lambda attn: attn.mean(1)) as maps:
        model(X)
    assert [record.layer for record in maps.records] == ["blocks.2.attn"]
    assert maps[0].shape == (2, 5, 5) and maps[0].dtype == torch.float16


def test_installed_it_stays_on_and_the_hook_has_the_maps_of_the_model_among_all_others(mymodel):
    model, other = Net(), Net(2)
    hook = astcapture.attention(model).install()
    with astcapture.install("mymodel"):
        model(X)
        other(X)
        mymodel().Marked()(X)
        model(X)
    assert len(hook.maps) == 6 and len(astcapture.cache[MHA]) == 6
    hook.uninstall()
    assert_maps(hook.maps[:3], model)
    assert len(hook.maps) == 6


def test_with_a_store_the_maps_go_to_disk(tmp_path):
    model = Net()
    with astcapture.attention(model, store=tmp_path / "run") as maps:
        model(X)
    assert_maps(maps, model)
    assert len(astcapture.load(tmp_path / "run").select(label="weights")) == 3


@pytest.mark.slow
def test_the_model_is_not_kept_alive():
    model = Net()
    with astcapture.attention(model) as maps:
        model(X)
    hook = astcapture.attention(model).install()
    model(X)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
    assert len(maps) == 3
    Net()(X)  # may have the name of the one that is gone
    assert len(hook.maps) == 3
    hook.uninstall()


def test_marked_functions_of_the_model_are_taken_too(mymodel):
    module = mymodel()
    model = nn.Sequential(module.Marked(), nn.MultiheadAttention(8, 2)).eval()
    with astcapture.attention(model) as maps:
        model[0](X)
        model[1](X, X, X)
    assert [(record.label, record.layer) for record in maps.records] == [("attn", "0"), ("weights", "1")]


def test_a_block_without_a_map_says_why():
    model = Net()
    with pytest.warns(CaptureWarning, match="no map was captured: it was not called"), astcapture.attention(model):
        pass
    model.eval()
    with torch.no_grad(), pytest.warns(CaptureWarning, match="path in C"):
        with astcapture.attention(model) as maps:
            model(X)
    with pytest.raises(IndexError, match="path in C"):
        maps[0]
    other = Net()
    with pytest.warns(CaptureWarning, match="another model"), astcapture.attention(Net()):
        other(X)


def test_a_block_that_an_exception_leaves_says_nothing_and_uninstalls():
    model = Net()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ZeroDivisionError), astcapture.attention(model):
            raise ZeroDivisionError
    assert not astcapture.imports.hook.finder.by_hook


@pytest.mark.slow
def test_one_object_is_for_one_block_at_a_time():
    model = Net()
    capture = astcapture.attention(model)
    with capture:
        model(X)
        with pytest.raises(CaptureError, match="in a `with` block already"), capture:
            pass
    for _ in range(2):
        with capture as maps:
            model(X)
        assert_maps(maps, model)


def test_a_model_that_no_recipe_knows_is_an_error_that_says_what_to_write(mymodel):
    module = mymodel()
    with pytest.raises(CaptureError) as raised:
        astcapture.attention(nn.Sequential(module.Unmarked(), module.Plain()))
    text = str(raised.value)
    assert 'write install({"mymodel:Unmarked.forward": "scores"})' in text
    assert "mymodel:Unmarked.forward (mymodel.py:15): scores, attn" in text and "attn_bias" not in text
    with pytest.raises(CaptureError, match=r'"mymodel:Fused\.forward": "weights@sdpa"'):
        astcapture.attention(module.Fused())
    with pytest.raises(CaptureError, match=r"no local in its classes looks like a map \(Plain\): `astcapture locals"):
        astcapture.attention(module.Plain())
    with pytest.raises(CaptureError, match="all of its modules are torch's own"):
        astcapture.attention(nn.Linear(2, 2))


def test_a_model_of_which_a_part_alone_is_known_is_warned_of(mymodel):
    module = mymodel()
    model = nn.Sequential(module.Unmarked(), nn.MultiheadAttention(8, 2))
    with pytest.warns(
        CaptureWarning, match=r"(?s)leaves out functions.*Unmarked\.forward \(mymodel\.py:15\): scores"
    ) as w:
        capture = astcapture.attention(model)
    assert w[0].filename == __file__
    with capture as maps:
        model[1](X, X, X)
    assert len(maps) == 1


def test_what_a_subclass_overrides_is_not_suggested(make_package):
    make_package(
        {
            "overriding.py": """
            from mymodel import Unmarked

            class Own(Unmarked):
                def forward(self, x):
                    y = x
                    return y
            """
        }
    )
    with pytest.raises(CaptureError, match=r"no local in its classes looks like a map \(Own, Unmarked\)"):
        astcapture.attention(importlib.import_module("overriding").Own())


def test_a_scripted_model_is_refused_with_the_reason():
    with pytest.raises(CaptureError, match=r"torch\.jit compiled this TopLevelTracedModule"):
        astcapture.attention(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)))


@pytest.mark.slow
def test_compiled_code_that_was_first_run_in_a_model_that_is_gone_is_of_this_model(mymodel):
    module = mymodel()

    class Wrapping(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    model = nn.Sequential(module.Marked())
    compiled = torch.compile(model, backend="eager")
    wrapping = Wrapping(compiled)
    with astcapture.attention(wrapping) as maps:
        wrapping(X)
    assert len(maps) == 1
    del wrapping
    gc.collect()
    with astcapture.attention(model) as maps:
        compiled(X)
    assert len(maps) == 1


def test_an_unmarked_function_needs_the_names_to_capture(mymodel):
    module = mymodel()
    for target in (module.Unmarked.forward, {module.Unmarked.forward: []}):
        with pytest.raises(CaptureError, match=r"Unmarked\.forward is not marked with @capture: mark it"):
            astcapture.install(target)


@pytest.mark.parametrize("model", [3, Net, "model", None])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(CaptureError, match="takes a model"):
        astcapture.attention(model)


def test_what_holds_a_model_is_refused_with_its_name():
    class Pipeline:
        def __init__(self) -> None:
            self.unet = Net()

    with pytest.raises(CaptureError, match=r"it holds one: write attention\(x.unet\)"):
        astcapture.attention(Pipeline())


# --- objects as targets of install


@pytest.mark.slow
def test_a_function_a_class_a_model_and_a_module_name_what_is_captured(mymodel):
    module = mymodel()
    model = module.Unmarked()
    asked: list[tuple[Any, str]] = [
        ({module.Unmarked.forward: "attn"}, "Unmarked.forward"),
        ({module.Unmarked: ["attn"]}, "Unmarked.forward"),
        ({model: "attn"}, "Unmarked.forward"),
        ({model.forward: "attn"}, "Unmarked.forward"),
        ([module.Marked], "Marked.forward"),
        (module.Marked, "Marked.forward"),
        (module, "Marked.forward"),
        ([module.Marked.forward], "Marked.forward"),
        (module.Marked(), "Marked.forward"),
        ({module.free: "y"}, "free"),
    ]
    for targets, function in asked:
        with astcapture.install(targets), astcapture.recording() as rec:
            model(X)
            module.Marked()(X)
            module.free(X)
        assert {key for key in rec if len(rec[key])} == {f"mymodel:{function}"}, targets
    with astcapture.install({module: "y"}), astcapture.recording() as rec:
        module.free(X)
        module.Plain()(X)
    assert {key for key in rec if len(rec[key])} == {"mymodel:free", "mymodel:Plain.forward"}


def test_a_model_without_marks_means_its_attention():
    model = Net(2)
    with astcapture.install(model):
        model(X)
    assert len(astcapture.cache[MHA]["weights"]) == 2


@pytest.mark.slow
def test_decorated_bound_and_inherited_functions_mean_the_def(make_package):
    make_package(
        {
            "decorated.py": """
            import functools

            def logged(f):
                @functools.wraps(f)
                def wrapper(*args):
                    return f(*args)
                return wrapper

            class Base:
                @logged
                def forward(self, x):
                    y = x
                    return y

                @staticmethod
                def alone(x):
                    y = x
                    return y

                @property
                def size(self):
                    y = 3
                    return y

            class Derived(Base):
                pass
            """
        }
    )
    decorated = importlib.import_module("decorated")
    derived = decorated.Derived()
    for target in (decorated.Derived, derived.forward, decorated.Base.forward, functools_partial(derived.forward)):
        with astcapture.install({target: "y"}), astcapture.recording() as rec:
            derived.forward(1)
        assert list(rec["decorated:Base.forward"]) == [1]
    with astcapture.install({decorated.Base.alone: "y", decorated.Base.size: "y"}), astcapture.recording() as rec:
        derived.alone(2)
        assert derived.size == 3
    assert (list(rec["Base.alone"]), list(rec["Base.size"])) == ([2], [3])


def functools_partial(function: Any) -> Any:
    import functools

    return functools.partial(function, 1)


def test_what_has_no_def_is_refused_by_name(mymodel):
    module = mymodel()
    with pytest.raises(CaptureError, match=r"torch.*relu is compiled: only a function with a def"):
        astcapture.install({torch.relu: "x"})
    with pytest.raises(CaptureError, match=r"is a lambda .*write a def"):
        astcapture.install({(lambda x: x): "x"})
    with pytest.raises(CaptureError, match="class Unmarked has no function marked"):
        astcapture.install([module.Unmarked])
    with pytest.raises(CaptureError, match="not 3"):
        astcapture.install([3])


# --- by number


def test_layers_and_calls_are_selected_by_number():
    model = Net(4)
    with astcapture.attention(model) as maps:
        model(X)
        model(X * 2)
    assert {record.layer for record in maps.select(layer=3).records} == {"blocks.3.attn"}
    assert {record.layer for record in maps.select(layer=-1).records} == {"blocks.3.attn"}
    assert [record.layer for record in maps.select(layer=[0, 2], call=0).records] == ["blocks.0.attn", "blocks.2.attn"]
    assert [record.call for record in maps.select(call=-1).records] == [1] * 4
    assert [record.call for record in maps.select(call=[0, -1], layer=1).records] == [0, 1]
    assert maps.last().records == maps.select(call=-1).records
    nothing = maps.select(layer=4)
    assert len(nothing) == 0
    with pytest.raises(IndexError, match="there are 4 layers, 0 to 3"):
        nothing[0]


def test_the_last_pass_is_that_of_the_newest_model(mymodel):
    model, other = Net(2), Net(1)
    with astcapture.install("@torch-mha"):
        model(X)
        model(X * 2)
        other(X)
        model(X * 3)
        other(X * 2)
        last = astcapture.cache.last()
        assert [record.layer for record in last.records] == ["blocks.0.attn"]
        torch.testing.assert_close(last[0], expected(other, X * 2)[0], rtol=0, atol=1e-6)
        model(X)
        assert len(astcapture.cache.last()) == 2


def test_a_selection_that_leaves_nothing_says_which_filter_did():
    model = Net(2)
    with astcapture.attention(model) as maps, astcapture.tag(image="dog.jpg"):
        model(X)
    reasons = {
        "no value has label='atn'; there is 'weights'": maps.select(label="atn"),
        "no value has layer='blocks.1'; there are 'blocks.0.attn', 'blocks.1.attn'": maps.select(layer="blocks.1"),
        "no value has a tag 'step'; tags here: image": maps.select(step=3),
        "no value has image='cat.jpg'; there is 'dog.jpg'": maps.select(image="cat.jpg"),
        "no value has call=7; there is 0": maps.select(call=7),
        "no value has layer=2; there are 2 layers, 0 to 1": maps.select(layer=2, label="weights"),
    }
    for reason, nothing in reasons.items():
        assert nothing.why_empty() == reason
        assert repr(nothing) == f"<Records: empty: {reason}>"
        with pytest.raises(IndexError, match="there is no value here: no value has"):
            nothing[0]
    assert maps.why_empty() is None
    with pytest.raises(CaptureError, match="heads are an axis of each value"):
        maps.select(head=0)
    with pytest.raises(KeyError, match="no value labelled 'attn'; labels here: weights"):
        maps["attn"]


def test_numbers_are_taken_in_ranges_slices_and_of_other_types():
    model, other = Net(3), Net(2)
    with astcapture.install("@torch-mha"):
        for x in (X, X * 2, X * 3):
            model(x)
        other(X)
    values = astcapture.cache.select()
    layers = [f"blocks.{number}.attn" for number in range(3)]
    assert list(values.select(layer=range(2), model=values.records[0].model).by_layer()) == layers[:2]
    assert list(values.select(layer=slice(1, None), model=values.records[0].model).by_layer()) == layers[1:]
    numbered = values.select(layer=torch.tensor(1), call=torch.tensor(0))
    assert [record.layer for record in numbered.records] == [layers[1], layers[1]]  # one of each model
    last_two = values.select(call=slice(-2, None), layer=0, model=values.records[0].model)
    assert [record.call for record in last_two.records] == [1, 2]
    assert [record.call for record in values.select(call=range(2), layer=2).records] == [0, 1]
    assert len(values.select(layer=True)) == 0
