"""What a capture records, case by case, and that nothing else changes: each program runs plainly and rewritten."""

from __future__ import annotations

import asyncio
import sys

import pytest
from plain_and_rewritten import both, captured, plain_code, rewritten_code, run, traced, write_down

needs_311 = pytest.mark.skipif(sys.version_info < (3, 11), reason="syntax of Python 3.11")
needs_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")

EARLY = """
def f(x):
    y = x
    if x > 2:
        y = 10 * x
        return "early"
    elif x == 1:
        y = "one"
        return y
    y += 1
    return "late"
"""


@pytest.mark.parametrize(("call", "value"), [("f(3)", 30), ("f(1)", "one"), ("f(0)", 1)])
def test_one_value_for_the_return_that_ran(call, value):
    assert captured(EARLY, call, "m:f=y") == [value]


def test_one_value_at_the_end_of_a_function_without_return():
    assert captured("def f(x):\n    y = x + 1\n    print(y)", "f(1)", "m:f=y") == [2]


@pytest.mark.parametrize(
    ("expression", "value"),
    [("(y := 5)", 5), ("change()", 7), ("[(y := i) for i in range(3)]", 2), ("1 if (y := 9) else 2", 9)],
)
def test_the_value_is_read_after_the_returned_expression_is_evaluated(expression, value):
    source = f"""
    def f():
        y = 1
        def change():
            nonlocal y
            y = 7
        return {expression}
    """
    assert captured(source, "f()", "m:f=y") == [value]


def test_a_finally_clause_runs_after_the_value_is_taken():
    source = """
    def f():
        try:
            y = 1
            return print("returning")
        finally:
            y = 2
            print("finally")
    """
    assert captured(source, "f()", "m:f=y") == [1]


def test_a_finally_clause_that_returns_gives_a_second_value_the_last_being_the_real_one():
    source = """
    def f():
        try:
            y = 1
            return "given up".upper()
        finally:
            y = 2
            return "kept"
    """
    seen = both(source, "f()", "m:f=y")
    assert seen.captured == [("y", 1), ("y", 2)]
    assert seen.result == "kept"


def test_a_return_in_a_with_is_taken_before_exit():
    source = """
    class Manager:
        def __enter__(self): return self
        def __exit__(self, *error): self.value = "closed"; print("exit")
        value = "open"
    def f():
        with Manager() as manager:
            state = manager.value
            return manager.value.upper()
    """
    assert captured(source, "f()", "m:f=state,now:=manager.value") == ["open", "open"]


def test_a_return_whose_expression_raises_and_is_swallowed_records_only_what_follows():
    source = """
    import contextlib
    def f():
        y = "inside"
        with contextlib.suppress(ZeroDivisionError):
            return 1 / 0
        y = "after"
        return y.upper()
    """
    assert captured(source, "f()", "m:f=y") == ["after"]


@pytest.mark.parametrize("argument", ["[1, 2]", "{'a': 3}", "7", "'other'", "None"])
def test_returns_in_match_are_found(argument):
    source = """
    def f(x):
        match x:
            case [y, *_]:
                return repr(y)
            case {"a": y}:
                return (y,)
            case int() as y if y > 5:
                return -y
            case str(y):
                pass
        return None
    """
    value = {"[1, 2]": [1], "{'a': 3}": [3], "7": [7], "'other'": ["other"], "None": []}[argument]
    assert captured(source, f"f({argument})", "m:f=y") == value


@pytest.mark.parametrize("argument", ["0", "''", "1"])
def test_returns_in_except_and_else_are_found(argument):
    source = """
    def f(x):
        try:
            y = 1 / x
        except ZeroDivisionError as e:
            y = "zero"
            return e.args
        except TypeError as e:
            y = "type"
            return str(type(e))
        else:
            y = "fine"
            return x + x
    """
    assert captured(source, f"f({argument})", "m:f=y") == [{"0": "zero", "''": "type", "1": "fine"}[argument]]


@needs_311
def test_a_name_bound_in_an_except_group_is_taken():
    source = """
    def f():
        y = 0
        try:
            raise ExceptionGroup("all", [ValueError(1), TypeError(2)])
        except* ValueError as group:
            y += len(group.exceptions)
        except* TypeError:
            y += 10
        return str(y)
    """
    assert captured(source, "f()", "m:f=y") == [11]


@pytest.mark.parametrize("argument", [0, 1, 2, 5])
def test_returns_in_loops_and_their_else_are_found(argument):
    source = """
    def f(n):
        for i in range(n):
            for j in range(i):
                if i * j == 2:
                    return "inner".upper()
        else:
            y = "else"
            while True:
                if n == 2:
                    return "while".upper()
                break
        return "end".upper()
    """
    both(source, f"f({argument})", "m:f=i,j,y")
    assert both(source, "f(5)", "m:f=i,j,y").captured == [("i", 2), ("j", 1)]


@pytest.mark.parametrize(
    "body",
    [
        "if x: y = 1\n    return str(x)",
        "if x: y = 1\n    return x",
        "if x: y = 1",
        "y = 1\n    del y\n    return str(x)",
        "y = 1\n    del y",
        "for y in x: pass\n    return str(x)",
        "try: 1 / 0\n    except ZeroDivisionError as y: pass\n    return str(x)",
        "try: 1 / 0\n    except ZeroDivisionError as y: pass",
        "while x: y = 1\n    return locals()",
        "if x: y = 1\n    d = locals()\n    return d",
        "if x: y = 1\n    d = vars()",
        # Left by an exception, the finally clause is reached with y unbound; by a break, the loop is.
        "y = 1\n    try:\n        if not x: del y; raise ValueError\n    finally:\n        return str(x)",
        "while True:\n        y = 1\n        try: break\n        finally: del y\n    return str(x)",
        "y = 1\n    def g():\n        nonlocal y\n        del y\n    g()\n    return str(x)",
    ],
)
def test_an_unbound_name_records_nothing_and_is_counted(body):
    seen = both(f"def f(x):\n    {body}", "f(())", "m:f=y")
    assert (seen.captured, seen.missed, seen.error) == ([], {"y": 1}, None)


def test_a_free_name_that_is_not_bound_yet_is_counted_as_missed():
    source = """
    def outer():
        def f():
            if 0: y
            return str(1)
        result = f()
        y = 1
        return result
    """
    assert both(source, "outer()", "m:outer.<locals>.f=y").missed == {"y": 1}


def test_a_nonlocal_and_a_closure_cell_give_their_current_value():
    source = """
    def outer():
        count, scale = 0, 2
        def f():
            nonlocal count
            count += 1
            return scale * 100
        f()
        scale = 3
        f()
    """
    assert captured(source, "outer()", "m:outer.<locals>.f=count,scale") == [1, 2, 2, 3]


def test_parameters_of_every_kind():
    source = """
    def f(a, /, b=2, *args, c, d=4, **kwargs):
        b = -b
        return a.real
    """
    values = captured(source, "f(1, 3, 5, 6, c=7, e=8)", "m:f=a,b,args,c,d,kwargs")
    assert values == [1, -3, (5, 6), 7, 4, {"e": 8}]


def test_every_local_can_be_asked_for():
    seen = both("def f(x):\n    y = x\n    if x > 5: z = 1\n    return str([w for w in 'ab'])", "f(1)", "m:f=*")
    assert (seen.captured, seen.missed) == ([("x", 1), ("y", 1)], {"z": 1})


def test_private_names_are_mangled_as_python_does():
    source = """
    class _Deep:
        __shared = 3
        def f(self, __x):
            __y = __x + self.__shared
            if __x > 10: __late = 5
            def inner():
                return __y
            return str(inner())
    """
    targets = "m:_Deep.f=__y,__x,__late,attribute:=self.__shared,listed:=[self.__shared for _ in range(__x)]"
    seen = both(source, "_Deep().f(1)", targets)
    assert seen.captured == [("__y", 4), ("__x", 1), ("attribute", 3), ("listed", [3])]
    assert seen.missed == {"__late": 1}
    assert dict(both(source, "_Deep().f(11)", targets).captured)["__late"] == 5


def test_super_and_class_work_unchanged():
    source = """
    class A:
        def f(self): return "A"
    class B(A):
        def f(self):
            y = super().f()
            return super().f() + __class__.__name__
    """
    assert captured(source, "B().f()", "m:B.f=y") == ["A"]


def test_a_nested_function_is_captured_and_the_one_around_it_untouched():
    source = """
    def outer(x):
        y = "outer"
        def f(x):
            y = x * 2
            return str(y)
        return f(x) + y
    """
    seen = both(source, "outer(2)", "m:outer.<locals>.f=y")
    assert seen.captured == [("y", 4)]
    source, path = write_down(source)
    outer = [
        run(code, "outer.__code__").result
        for code in (plain_code(source, path), rewritten_code(source, path, "m:outer.<locals>.f=y"))
    ]
    assert outer[0].co_code == outer[1].co_code


def test_a_function_declared_global_has_the_qualname_of_a_module_function():
    source = """
    def make():
        global f, C
        def f():
            y = 1
            def g():
                z = 2
                return str(z)
            return g()
        class C:
            def h(self): w = 3; return str(w)
    make()
    names = [f.__qualname__, C.h.__qualname__]
    """
    assert captured(source, "(f(), C().h(), names)", "m:f=y;m:f.<locals>.g=z;m:C.h=w") == [2, 1, 3]


def test_definitions_that_share_a_qualname_are_all_rewritten():
    source = """
    class C:
        @property
        def f(self):
            y = self._f
            return str(y)
        @f.setter
        def f(self, value):
            y = value * 2
            self._f = value
        @f.deleter
        def f(self):
            print("gone")
    def g(): y = 1; return str(y)
    first = g
    def g(): y = 2; return str(y)
    if first:
        def g(): y = 3; return str(y)
    else:
        def g(): y = 4; return str(y)
    def use():
        c = C()
        c.f = 5
        result = c.f
        del c.f
        return result, first(), g()
    """
    assert captured(source, "use()", "m:C.f=y;m:g=y") == [10, 5, 1, 3]


GENERATOR = """
def f(n):
    total = 0
    try:
        for i in range(n):
            got = yield i
            total += i if got is None else got
        return (yield "last")
    finally:
        print("closed", total)
def use(how):
    g = f(2)
    if how == "never": return g.gi_running
    if how == "exhaust": return list(g)
    if how == "send": return [next(g), g.send(10), g.send(20), next(g, "end")]
    next(g)
    if how == "close": return g.close()
    if how == "throw":
        g.throw(KeyError("thrown"))
    if how == "drop":
        del g
        import gc; gc.collect()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "value"),
    [("never", []), ("exhaust", [1]), ("send", [30]), ("close", []), ("throw", []), ("drop", [])],
)
def test_a_generator_records_at_its_return_and_only_there(how, value):
    assert captured(GENERATOR, f"use({how!r})", "m:f=total") == value


def test_a_generator_that_is_exhausted_records_once_at_its_end():
    assert captured("def f(n):\n    for i in range(n):\n        yield i", "list(f(3))", "m:f=i") == [2]


def test_yield_from_and_a_returned_yield_are_recorded_after_resumption():
    source = """
    def inner():
        got = yield 1
        return got
    def f():
        y = "before"
        y = yield from inner()
        return (yield y)
    def use():
        g = f()
        return [next(g), g.send("a"), next(g, "end")]
    """
    assert captured(source, "use()", "m:f=y;m:inner=got") == ["a", "a"]


def test_coroutines_and_async_generators_are_recorded_after_resumption():
    source = """
    import asyncio
    log = []
    async def g(x):
        y = x
        await asyncio.sleep(0)
        log.append(y)
        return await asyncio.sleep(0, y * 2)
    async def agen(n):
        for i in range(n):
            yield i
            await asyncio.sleep(0)
    async def f():
        both = await asyncio.gather(g(1), g(2))
        seen = [i async for i in agen(3)]
        async with asyncio.Lock() as lock:
            return seen, await g(3)
    def use():
        return asyncio.run(f())
    """
    values = captured(source, "use()", "m:g=y;m:agen=i;m:f=both,lock")
    assert values == [1, 2, 2, 3, [2, 4], None]


def test_two_coroutines_that_wait_between_result_and_return_do_not_mix_their_results():
    source = """
    import asyncio
    async def g(x):
        return await asyncio.sleep(0.001 * (5 - x), x)
    async def f():
        return await asyncio.gather(*(g(i) for i in range(5)))
    """
    seen = both(source, lambda names: asyncio.run(names["f"]()), "m:g=double:=x * 2")
    assert seen.result == [0, 1, 2, 3, 4]
    assert sorted(value for _, value in seen.captured) == [0, 2, 4, 6, 8]


def test_inner_calls_of_a_recursion_come_first():
    assert captured("def f(n):\n    y = n\n    return 1 if n == 0 else n * f(n - 1)", "f(3)", "m:f=y") == [0, 1, 2, 3]


def test_a_recursion_in_the_captured_expression_hands_each_result_to_its_own_caller():
    source = """
    class C:
        depth = 0
        @property
        def again(self):
            if self.depth < 3:
                self.depth += 1
                return self.f(self.depth)
        def f(self, n):
            return str(n)
    """
    source, path = write_down(source)
    rewritten = run(rewritten_code(source, path, "m:C.f=again:=self.again"), "C().f(0)")
    assert rewritten.result == "0"
    assert [value for _, value in rewritten.captured] == [None, "3", "2", "1"]


DECORATED = """
import functools, contextlib
from typing import overload
from astcapture import capture
def doubled(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args), function(*args)
    return call
@overload
def f(x: int) -> int: ...
@overload
def f(x: str) -> str: ...
@doubled
@capture("y")
@functools.lru_cache
def f(x):
    y = x
    return x + x
class C:
    @capture("y")
    @staticmethod
    def s(x): y = x; return str(y)
    @classmethod
    @capture("y")
    def c(cls, x): y = x; return str(y)
    @property
    @capture("y")
    def p(self): y = 3; return str(y)
    @capture("y")
    @contextlib.contextmanager
    def m(self):
        y = 4
        yield y
        y = 5
def use():
    with C().m() as four:
        pass
    return f(1), f("a"), C.s(1), C.c(2), C().p, four
"""


def test_the_function_under_any_decorators_is_rewritten():
    assert captured(DECORATED, "use()", "m") == [5, 1, "a", 1, 2, 3]


@needs_312
def test_type_parameters_and_nested_f_strings_are_untouched():
    source = """
    class Box[T]:
        def f[U: int](self, x: U) -> tuple[T, U]:
            type Pair = tuple[T, U]
            y = f"{f"{x!r:>{4}}"}"
            return y, U.__name__, Pair.__name__
    """
    assert captured(source, "Box().f(1)", "m:Box.f=y,Pair")[0] == "   1"


@pytest.mark.parametrize("look", ["locals()", "vars()", "eval('locals()')", "dir()", "sys._getframe().f_locals.copy()"])
def test_no_name_of_ours_is_among_the_locals(look):
    source = f"""
    import sys
    def f(x):
        if x: y = 1
        exec("z = 1")
        before = sorted({look})
        return before, sorted({look}), {look}
    """
    both(source, "f(0)", "m:f=y,x,l:=x.real,m:=[x for _ in 'a']")
    both(source, "f(1)", "m:f=y,x,l:=x.real,m:=[x for _ in 'a']")


def test_the_frame_of_a_caller_is_as_without():
    source = """
    import sys, inspect
    def who():
        frame = sys._getframe(1)
        return frame.f_code.co_name, frame.f_lineno, sorted(frame.f_locals), len(inspect.stack())
    def f(x):
        y = 2
        return who()
    """
    assert captured(source, "f(0)", "m:f=y") == [2]


def test_a_failing_expression_is_kept_as_text_and_never_reaches_the_program():
    source = """
    if not True: unknown = 1
    def f(x):
        if x: y = 1
        return str(x)
    """
    seen = both(source, "f(0)", "m:f=a:=x.nothing,b:=1 / x,c:=y + 1,d:=unknown + 1,e:=[y for _ in 'a'],g:=x")
    assert seen.captured == [("g", 0)]
    assert seen.failed["a"] == "AttributeError: 'int' object has no attribute 'nothing'"
    assert seen.failed["b"] == "ZeroDivisionError: division by zero"
    assert seen.failed["d"] == "NameError: name 'unknown' is not defined"
    # A local that they read is not bound, which is no error of theirs.
    assert seen.missed == {"c": 1, "e": 1}


def test_at_the_end_of_the_body_too():
    source = """
    import math
    def f(x):
        if x: y = 1
    """
    seen = both(source, "f(0)", "m:f=a:=x.nothing,b:=math.pi,c:=y + 1,g:=x")
    assert dict(seen.captured) == {"b": pytest.approx(3.14159, 1e-5), "g": 0}
    assert seen.failed == {"a": "AttributeError: 'int' object has no attribute 'nothing'"}
    assert seen.missed == {"c": 1}


def test_an_interrupt_in_an_expression_goes_on_its_way():
    source = """
    class C:
        @property
        def slow(self): raise KeyboardInterrupt
        def f(self): return str(1)
    """
    source, path = write_down(source)
    assert isinstance(run(rewritten_code(source, path, "m:C.f=x:=self.slow"), "C().f()").error, KeyboardInterrupt)


def test_exceptions_on_their_way_through_are_unchanged():
    source = """
    def f(x):
        y = x
        try:
            return 1 / x
        except ZeroDivisionError as error:
            raise ValueError("no") from error
        finally:
            print("finally")
    def g(x):
        try:
            return f(x)
        except ValueError:
            import sys
            return repr(sys.exc_info()[1]), repr(sys.exc_info()[1].__cause__), f(2)
    """
    assert captured(source, "g(0)", "m:f=y,z:=x.real;m:g=x,e:=x.nothing") == [2, 2, 0]
    assert both(source, "f(0)", "m:f=y").error.args == ("no",)


def test_the_order_of_evaluation_is_that_of_the_source():
    source = """
    def say(x):
        print(x)
        return x
    class C:
        def __del__(self): print("dropped")
        def __enter__(self): print("enter")
        def __exit__(self, *error): print("exit")
    def f(x):
        c = C()
        if x: y = 1
        with C() as z:
            try:
                return [say(1), say(2)][say(0)]
            finally:
                del c
                say(3)
    """
    both(source, "f(0)", "m:f=y,z,c2:=x + 1")


@pytest.mark.parametrize("source", [EARLY, GENERATOR])
def test_the_values_are_those_that_a_trace_function_sees_in_the_plain_run(source):
    source, path = write_down(source)
    for call in ("f(3)", "f(1)", "f(0)") if source.startswith("def f(x)") else ("list(f(3))", "list(f(0))"):
        name = "y" if source.startswith("def f(x)") else "i"
        seen = traced(plain_code(source, path), call).at_return
        expected = [names[name] for function, names in seen if function == "f" and name in names]
        assert [value for _, value in run(rewritten_code(source, path, f"m:f={name}"), call).captured] == expected


def test_a_name_may_be_written_with_any_character_that_python_takes_for_the_same():
    assert captured("def f():\n    \u00b5 = 3\n    return str(\u00b5)", "f()", "m:f=\u00b5") == [3]


def test_the_order_of_locals_is_that_of_a_plain_run():
    source = """
    def f(c):
        if not c: return list(locals())
        for a in ("text", 1):
            try:
                a.real
            except AttributeError:
                b = c
            else:
                d = c
        return list(locals())
    """
    for call in ("f(0)", "f(1)"):
        both(source, call, "m:*=*")


def test_a_value_is_not_asked_for_its_class():
    """Which can be code of the program's own, and captured itself."""
    source = """
    asked = []
    class Proxy:
        def __getattribute__(self, name):
            asked.append(name)
            return object.__getattribute__(self, name)
    def f():
        y = Proxy()
        return 1
    """
    seen = both(source, "(f(), asked)", "m:f=y;m:Proxy.__getattribute__=name")
    assert seen.captured[-1][0] == "y"


@pytest.mark.slow
@pytest.mark.parametrize(
    "targets", [["m:f=*", "m:g=*"], ["m:f=*@assign", "m:g=*@assign"], ["m:f=x,both:=[x, n]", "m:g=x,both:=[x, n]"]]
)
def test_where_the_stack_is_full_the_programs_own_error_is_raised_and_what_is_not_recorded_is_told(targets):
    source = """
    import sys
    def f(n):
        x = [n]
        if n < 0: late = x
        return f(n + 1)
    def g(n, depth):
        x = [n]
        if n < 0: late = x
        return g(n + 1, depth) if n < depth else x
    def deepest():
        frames = []
        try:
            f(0)
        except RecursionError as error:
            trace = error.__traceback__
            while trace is not None:
                frames.append(trace.tb_frame.f_code.co_filename)
                trace = trace.tb_next
        for depth in range(sys.getrecursionlimit() - 90, sys.getrecursionlimit()):
            try:
                g(0, depth)
            except RecursionError:
                return sorted(set(frames)), depth
    """
    source, path = write_down(source)
    frames, depth = run(plain_code(source, path), "deepest()").result
    rewritten = run(rewritten_code(source, path, targets), "deepest()")
    assert rewritten.result[0] == frames == [path]  # none of ours is among them
    assert depth - 3 <= rewritten.result[1] <= depth
    assert set(rewritten.failed.values()) <= {
        "RecursionError: the recursion limit was reached while recording the value"
    }
    assert rewritten.failed or targets != ["m:f=*", "m:g=*"]
