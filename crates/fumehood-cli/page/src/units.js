const SIZES = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]];

/// Three digits that matter, without zeros that don't.
function digits(value) {
  if (value >= 100) return Math.round(value).toString();
  return Number(value.toPrecision(value >= 10 ? 3 : 2)).toString();
}

/// `1.5 MiB`.
export function bytes(count) {
  const [unit, size] = SIZES.find(([, size]) => count >= size) ?? ["B", 1];
  return `${digits(count / size)} ${unit}`;
}

/// `1.2 s`, `340 ms`, from microseconds.
export function time(us) {
  if (us >= 999_500) return `${digits(us / 1e6)} s`;
  return us >= 1000 ? `${digits(us / 1e3)} ms` : `${Math.round(us)} µs`;
}
