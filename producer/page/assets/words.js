// Numbers in words.

export const whole = (number) => number.toLocaleString("en");

export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "unknown";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  const hours = seconds / 3600;
  if (hours < 48) return `${Math.floor(hours)} h ${Math.round((hours % 1) * 60)} min`;
  return `${(hours / 24).toFixed(1)} days`;
}

export function rate(perSecond) {
  if (!perSecond) return "unknown";
  for (const [factor, unit] of [[1, "s"], [60, "min"]]) {
    if (perSecond * factor >= 1) return `${few(perSecond * factor)}/${unit}`;
  }
  return `${few(perSecond * 3600)}/h`;
}

export const few = (number) => (number >= 100 ? whole(Math.round(number)) : number.toFixed(1));

export function dollars(number) {
  if (number === null) return "unknown";
  if (number && number < 0.01) return "under $0.01";
  return number >= 1000 ? `$${whole(Math.round(number))}` : `$${number.toFixed(2)}`;
}

export function bytes(number) {
  if (!number) return "";
  const power = Math.min(4, Math.floor(Math.log(number) / Math.log(1024)));
  return `${few(number / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

export function voxels(number) {
  for (const [factor, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (number >= factor) return `${few(number / factor)} ${unit}voxel`;
  }
  return `${Math.round(number)} voxel`;
}

export function time(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? "" : at.toLocaleString("sv");
}
