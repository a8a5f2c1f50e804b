// Both streams of a program in one place, in the order in which they came.

import { bytes } from "./units.js";

/// Characters that are shown: a page with more becomes slow, and nobody reads them.
const SHOWN = 512 * 1024;

/// Characters after which the next line begins a part. A browser lays a part out anew with every
/// piece that is added to it, and leaves the others as they are.
const PART = 4096;

export function createOutput(place, chips) {
  let streams, shown, pending, frame, part, filled, ended;

  function clear() {
    cancelAnimationFrame(frame);
    frame = 0;
    streams = { stdout: fresh(), stderr: fresh() };
    shown = 0;
    pending = [];
    part = null;
    place.replaceChildren();
    count();
  }

  const fresh = () => ({ decoder: new TextDecoder(), size: 0 });

  /// `data` is { text } or { base64 }, a part of a stream: a character may be split between two.
  function add(name, data) {
    const stream = streams[name];
    const chunk = toBytes(data);
    stream.size += chunk.length;
    pending.push([name, stream.decoder.decode(chunk, { stream: true })]);
    frame ||= requestAnimationFrame(draw);
  }

  /// Shows what is left, and the word that there is nothing if a program `ran`.
  function finish(truncated, ran = true) {
    for (const name of ["stdout", "stderr"]) pending.push([name, streams[name].decoder.decode()]);
    cancelAnimationFrame(frame);
    draw();
    if (truncated || shown >= SHOWN) note("The rest is not shown.");
    else if (ran && !place.hasChildNodes()) note("It printed nothing.");
  }

  function draw() {
    frame = 0;
    const follow = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
    for (const [name, text] of pending) show(name, text.slice(0, Math.max(0, SHOWN - shown)));
    pending = [];
    count();
    if (follow) place.scrollTop = place.scrollHeight;
  }

  function show(name, text) {
    shown += text.length;
    for (const piece of pieces(text)) append(name, piece);
  }

  function append(name, text) {
    if (!part || (filled >= PART && ended)) {
      part = place.appendChild(document.createElement("div"));
      filled = 0;
    }
    const last = part.lastElementChild;
    const span = last?.className === name ? last : part.appendChild(document.createElement("span"));
    span.className = name;
    span.append(text);
    filled += text.length;
    ended = text.endsWith("\n");
  }

  function note(text) {
    const line = place.appendChild(document.createElement("em"));
    line.textContent = text;
  }

  function count() {
    for (const chip of chips) {
      const { size } = streams[chip.dataset.stream];
      chip.querySelector("span").textContent = size ? bytes(size) : "";
    }
  }

  for (const chip of chips) {
    chip.addEventListener("click", () => {
      const on = chip.getAttribute("aria-pressed") !== "true";
      chip.setAttribute("aria-pressed", String(on));
      place.classList.toggle(`no-${chip.dataset.stream}`, !on);
    });
  }
  clear();
  return { clear, add, finish };
}

/// The text in pieces that end with a line, where they can, and are not much longer than a part.
function* pieces(text) {
  for (let start = 0; start < text.length; ) {
    const end = text.indexOf("\n", start + PART) + 1 || text.length;
    yield text.slice(start, end);
    start = end;
  }
}

function toBytes({ text, base64 }) {
  if (text !== undefined) return new TextEncoder().encode(text);
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}
