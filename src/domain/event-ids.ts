/** How long event ids are remembered. */
import { DAY_MS, HOUR_MS } from "./event.ts";

/** After its commit, an id counts once in its stream for this long. */
export const ID_TTL_MS = DAY_MS;
export const ID_TTL_TEXT = `${ID_TTL_MS / HOUR_MS} hours`;
