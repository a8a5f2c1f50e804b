// A program in the fragment of a link, which browsers do not send to any server.

const MARK = "#1.";
/// Bytes of a program that a link may unpack to: a few hundred can be made to unpack to gigabytes.
const MOST = 1 << 20;

/// Whether a fragment carries a program.
export const isLink = (fragment) => fragment.startsWith(MARK);

/// `program` is { language, source, stdin, args }. Throws a sentence if no link would open it again.
export async function toFragment({ language, source, stdin, args }) {
  const json = new Blob([JSON.stringify([language, source, stdin, args])]);
  if (json.size > MOST) throw new Error("This program and its input are too large for a link.");
  const packed = json.stream().pipeThrough(new CompressionStream("deflate-raw"));
  return MARK + toBase64Url(await collect(packed, Infinity));
}

/// The program of a fragment, null if it carries none. Throws a sentence if it is broken.
export async function fromFragment(fragment) {
  if (!isLink(fragment)) return null;
  try {
    const bytes = fromBase64Url(fragment.slice(MARK.length));
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await collect(unpacked, MOST));
    const [language, source, stdin, args] = JSON.parse(text);
    if (![language, source, stdin, args].every((part) => typeof part === "string")) throw 0;
    return { language, source, stdin, args };
  } catch {
    throw new Error("The program in this link cannot be read: it is cut off, too large, or not ours.");
  }
}

async function collect(stream, most) {
  const parts = [];
  let size = 0;
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > most) {
      await reader.cancel();
      throw new Error("too large");
    }
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

function toBase64Url(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64Url(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (char) => char.charCodeAt(0));
}
