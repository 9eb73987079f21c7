"""How fast the viewer's page is in a browser that draws with the processor alone.

    python benchmarks/viewer_frames.py [FILE.html]

Without a file, one of 12 layers × 12 heads × 2,048 tokens is made first, with 12 different maps. Needs Chromium and
playwright (`pip install -e ".[view-test]"`). Printed are the time from opening the file to its first picture, and
frames a second while zooming in and out, panning, and pointing along a diagonal of the map, over 120 frames each: the
mean, and the slowest of 20 frames (5 %). Over 2 seconds, or under 30 frames a second while zooming, the exit status
is 1.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

LAYERS, HEADS, TOKENS = 12, 12, 2048
MOST_SECONDS, LEAST_FRAMES = 2.0, 30.0

FRAMES = """
([kind, n]) => new Promise(done => {
  const stage = document.getElementById('stage'), box = stage.getBoundingClientRect(), times = [];
  const x = box.x + box.width / 2, y = box.y + box.height / 2, common = {bubbles: true, cancelable: true, pointerId: 1};
  let i = 0, last = performance.now();
  stage.setPointerCapture = () => {};
  const send = (type, more) => stage.dispatchEvent(
    new (type === 'wheel' ? WheelEvent : PointerEvent)(type, {...common, clientX: x, clientY: y, ...more}));
  if (kind === 'pan') send('pointerdown', {buttons: 1});
  const frame = now => {
    times.push(now - last); last = now;
    if (i++ >= n) return done(times.slice(2));
    if (kind === 'zoom') send('wheel', {deltaY: i < n / 2 ? -60 : 60});
    else if (kind === 'pan') send('pointermove', {clientX: x + 3 * i, clientY: y + 2 * i, buttons: 1});
    else send('pointermove', {clientX: box.x + 140 + 4 * i, clientY: box.y + 90 + 4 * i});
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})
"""


def make(path: Path) -> None:
    import numpy as np

    from astcapture import Record, Records
    from astcapture.view import View

    rng = np.random.default_rng(0)
    weights = rng.random((1, HEADS, TOKENS, TOKENS), dtype=np.float32) ** 12 * np.tri(TOKENS, dtype=np.float32)
    place = np.arange(1, TOKENS)
    weights[0, ::2, place, place - 1] += 4  # a thin diagonal, as of a head that looks at the token before
    weights /= weights.sum(axis=-1, keepdims=True)
    names = [f"h.{layer}.attn" for layer in range(LAYERS)]
    records = [Record(weights, "attn", "gpt", "Attention.forward", 1, name, 0, model="GPT") for name in names]
    start = time.perf_counter()
    View(Records(records), tokens=[f"w{i}" for i in range(TOKENS)]).save(path)
    seconds, size = time.perf_counter() - start, path.stat().st_size / 1e6
    print(f"{LAYERS} × {HEADS} × {TOKENS:,} tokens: {size:.1f} MB, made in {seconds:.0f} s")


def main() -> int:
    from playwright.sync_api import sync_playwright

    path = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
    if path is None:
        print("no Chromium is installed")
        return 1
    slow = False
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as tool:
        file = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(folder) / "large.html"
        if len(sys.argv) < 2:
            make(file)
        browser = tool.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        firsts = []
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1600, "height": 900})
            page.goto(file.as_uri())
            page.evaluate("astcapture.ready")
            firsts.append(page.evaluate("performance.now()") / 1000)
        first = sorted(firsts)[1]
        slow |= first > MOST_SECONDS
        print(f"first picture: {first:.2f} s after opening{'   SLOW' if first > MOST_SECONDS else ''}")
        for kind in ("zoom", "pan", "point"):
            if kind == "pan":
                page.evaluate("astcapture.set({zoom: [700, 700, 6]})")
            if kind == "point":
                page.evaluate("astcapture.set({zoom: null})")
            page.evaluate(FRAMES, [kind, 20])
            times = sorted(page.evaluate(FRAMES, [kind, 120]))
            frames = 1000 * len(times) / sum(times)
            late = kind == "zoom" and frames < LEAST_FRAMES
            slow |= late
            slowest = 1000 / times[int(len(times) * 0.95)]
            print(f"{kind:6} {frames:5.1f} frames a second, slowest 5 %: {slowest:5.1f}{'   SLOW' if late else ''}")
        browser.close()
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
