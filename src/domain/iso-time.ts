/** What all texts of times share: dates that exist, and offsets from UTC. */

/** `whole`: as toISOString() writes it. Undefined if there is no such time: 30 February would be read as 2 March. */
export function existingTime(whole: string): number | undefined {
  const at = Date.parse(whole);
  return Number.isNaN(at) || new Date(at).toISOString() !== whole ? undefined : at;
}

/** The instant at which clocks show `local`, if they are this far ahead of UTC (behind if `sign` is "-"). */
export function instantAt(local: number, sign: string, hours: string, minutes: string): number {
  const offsetMs = (Number(hours) * 60 + Number(minutes)) * 60_000;
  return sign === "-" ? local + offsetMs : local - offsetMs;
}
