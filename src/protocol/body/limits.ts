/** How large a body may be, how many events it may have, and how long it may take. */

/** Of POST /events, packed and unpacked alike; also of a broker's message. */
export const BODY_MAX_BYTES = 4_194_304;
/** Of requests that need no body: it is read and ignored. */
export const IGNORED_BODY_MAX_BYTES = 65_536;
/**
 * Time for a whole body. Shorter than the default of IDLE_TIMEOUT_S, since each connection may hold BODY_MAX_BYTES
 * meanwhile. Arriving data does not extend Bun's timeout.
 */
export const BODY_TIMEOUT_S = 60;
export const EVENTS_MAX = 10_000;
/** Allows three blank lines per event. */
export const LINES_MAX = 4 * EVENTS_MAX;
/** Invalid events that an answer explains. */
export const INVALID_MAX_LISTED = 100;
