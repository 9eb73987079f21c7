"""One edit while it is installed: which values it takes, what it makes of them, and what it has to say of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from astcapture.edits import cells
from astcapture.edits.filters import takes
from astcapture.edits.held import is_tensor
from astcapture.edits.receipts import Receipt, form_of, same_form
from astcapture.edits.site import Site
from astcapture.record.editing import EditSite
from astcapture.targets.target import Target

#: A function of a value, or of a value and the `Site`.
Change = Callable[..., Any]
#: Why a change is refused that it has made already.
IN_PLACE = "the change changed its value in place, and with it all that shares its memory: return a new value"
#: As many layers a message lists.
_LISTED = 5


class Active:
    """An installed edit.

    Attributes:
        text: the target as the user wrote it, and the change.
        targets: the functions that it means; more may be found.
        receipts: by layer.
        layers: the layers on which its point was reached, with their numbers in order of appearance.
        problem: why what the change returned was not taken, the first time.
        uncounted: why its receipts may be too small; in compiled code alone.
    """

    def __init__(self, text: str, targets: list[Target], change: Change, layer: Any, call: Any) -> None:
        self.text = text
        self.targets = targets
        self.change = change
        self.layer, self.call = layer, call
        self.takes_site = _takes_two(change)
        self.receipts: dict[str | None, Receipt] = {}
        self.layers: dict[str | None, int] = {}
        self.executions = 0
        self.problem: str | None = None
        self.uncounted: str | None = None
        #: Whether the change raised an exception.
        self.raised = False
        #: Whether the change ever returned something else than it was given.
        self.returned_another = False
        #: Its number among the edits of the process.
        self.number = -1
        #: The layers on which compiled code applies it.
        self.compiled_layers: dict[str | None, None] = {}
        self._taken: dict[str | None, bool] = {}

    @property
    def needs_call(self) -> bool:
        """Whether executions have to be counted."""
        return self.call is not None or (self.takes_site and getattr(self.change, "needs_call", True))

    def means(self, site: EditSite) -> bool:
        """Whether values at a site are its own."""
        module, qualname, name, _, point = site
        return any(
            target.means(module, qualname) and any((one.expression, one.at) == (name, point) for one in target.captures)
            for target in self.targets
        )

    def takes_layer(self, layer: str | None) -> bool:
        """Whether it is for a layer, which it notes."""
        taken = self._taken.get(layer)
        if taken is None:
            number = self.layers.setdefault(layer, len(self.layers))
            taken = self._taken[layer] = takes(self.layer, lambda: number, layer)
        return taken

    def apply(self, value: Any, site: EditSite, layer: str | None, call: int | None) -> Any:
        """What the program goes on with."""
        if not self.takes_layer(layer):
            return value
        self.executions = max(self.executions, (call or 0) + 1)
        if self.call is not None and not takes(self.call, lambda: call):
            return value
        version = version_of(value)
        try:
            new = self.change(value, Site(layer, call, site[2], site[3])) if self.takes_site else self.change(value)
        except Exception:
            self.raised = True  # the program gets the exception
            raise
        if version != version_of(value):
            self.note_problem(layer, site[3], IN_PLACE)
        return self.accepted(value, new, site[3], layer)

    def accepted(self, value: Any, new: Any, lineno: int, layer: str | None) -> Any:
        """The changed value if it fits in the place of the other, and a note of it in the receipt."""
        problem = None if same_form(value, new) else why_unfit(value, new)
        if problem is not None:
            self.note_problem(layer, lineno, problem)
            return value
        receipt = self.receipts.get(layer)
        if receipt is None:
            receipt = self.receipts[layer] = Receipt()
        receipt.fires(value, lineno)
        if new is not value:
            self.returned_another = True
            receipt.changed = receipt.changed or differ(value, new)
        return new

    def note_problem(self, layer: str | None, lineno: int, problem: str) -> None:
        """Note why what the change returned is not taken."""
        self.problem = self.problem or f"{problem} (on {_in_words(layer)}, line {lineno})"

    def cell_of_fired(self, layer: str | None) -> tuple[Any, ...]:
        """The key of the tensor in which compiled code counts how often it fires."""
        return ("fired", self.number, layer)

    def cell_of_changed(self, layer: str | None) -> tuple[Any, ...]:
        """The same of whether it changed anything."""
        return ("changed", self.number, layer)

    def settle(self) -> None:
        """Add what compiled code has counted to the receipts."""
        for layer in self.compiled_layers:
            fired, changed = cells.content(self.cell_of_fired(layer)), cells.content(self.cell_of_changed(layer))
            receipt = self.receipts.setdefault(layer, Receipt())
            receipt.fired += int(fired)
            receipt.changed = receipt.changed or bool(changed)
            self.returned_another = self.returned_another or bool(fired)
            fired.zero_()

    def errors(self, was_found: bool) -> list[str]:
        """Why the program did not notice the edit, or not as it was meant."""
        if self.problem is not None:
            return [f"{self.text}: {self.problem}"]
        if self.raised or any(receipt.fired for receipt in self.receipts.values()) or self.uncounted is not None:
            return []
        return [f"{self.text}: changed nothing: {self._why_not_fired(was_found)}"]

    def warnings(self) -> list[str]:
        """What is odd though the edit fired: nothing is different because of it."""
        fired = sum(receipt.fired for receipt in self.receipts.values())
        if not self.returned_another or self.uncounted or any(receipt.changed for receipt in self.receipts.values()):
            return []
        times = "once" if fired == 1 else f"{fired} times"
        return [f"{self.text}: fired {times} and changed nothing: each value already was what the edit makes of it"]

    def _why_not_fired(self, was_found: bool) -> str:
        if not was_found:
            return "no module with that function was imported while the edit was installed"
        if not self.layers:
            return "the function was not called while the edit was installed, or did not come to that line"
        if not any(self._taken.values()):
            names = [*map(_in_words, self.layers)]
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            return f"layer={self.layer!r} matches none of the layers that ran: {', '.join(names[:_LISTED])}{more}"
        if not self.executions:
            return f"call={self.call!r} did not come; calls count from 0"
        ran = "once" if self.executions == 1 else f"{self.executions} times"
        return f"call={self.call!r} did not come: the function ran {ran} on a layer, and calls count from 0"


def why_unfit(value: Any, new: Any) -> str | None:
    """Why a changed value does not fit: it has another shape or dtype; None if it fits."""
    if new is value:
        return None
    before, after = form_of(value), form_of(new)
    if before == (None, None):
        return None
    if new is None:
        return "the change returned None: return the edited value"
    if after == (None, None):
        return f"the change returned {type(new).__name__} for {type(value).__name__}"
    if before[0] != after[0]:
        return f"the change returned shape {after[0]} for {before[0]}"
    if before[1] != after[1]:
        return f"the change returned {after[1]} for {before[1]}: end it with .to(value.dtype)"
    return None


def version_of(value: Any) -> int | None:
    """How often torch has counted a change in place of a tensor; None where it does not count."""
    if not is_tensor(value):
        return None
    try:
        return int(value._version)
    except Exception:
        return None  # a tensor of the inference mode


def differ(value: Any, new: Any) -> bool:
    """Whether two values differ; where that cannot be asked, they do."""
    if form_of(value) == (None, None):
        plain = (int, float, str, bool, bytes, type(None))
        return not (type(value) in plain and type(new) is type(value) and value == new)
    try:
        return not equal_arrays(value, new)
    except Exception:
        return True  # under a transform of torch.func, or a fake tensor


def equal_arrays(value: Any, new: Any) -> bool:
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        with torch.no_grad():
            # NaN differs from itself.
            return bool(torch.equal(value, new) or ((value == new) | ((value != value) & (new != new))).all())
    return bool(((value == new) | ((value != value) & (new != new))).all())


def _takes_two(change: Change) -> bool:
    """Whether a change is given the site as well."""
    import inspect  # takes a while

    try:
        parameters = [*inspect.signature(change).parameters.values()]
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in positional and one.default is one.empty for one in parameters) == 2


def _in_words(layer: str | None) -> str:
    return "outside of modules" if layer is None else layer or "the model itself"
