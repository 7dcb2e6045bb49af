/** What texts of times have in common, whoever wrote them: dates that there are, and offsets from UTC. */

/** `whole`: as toISOString() writes it. Undefined if there is no such time: 30 February would be read as 2 March. */
export function existingTime(whole: string): number | undefined {
  const at = Date.parse(whole);
  return Number.isNaN(at) || new Date(at).toISOString() !== whole ? undefined : at;
}

/** When clocks show `local` that are so far ahead of UTC, or behind it if `sign` is "-". Digits alone; "": none. */
export function instantAt(local: number, sign: string, hours: string, minutes: string): number {
  const offsetMs = (Number(hours) * 60 + Number(minutes)) * 60_000;
  return sign === "-" ? local + offsetMs : local - offsetMs;
}
