/*
 * HTTP/1.1 load over many connections, one request at a time on each: at a constant rate, or as much as the server
 * takes. http-load.ts compiles it with TinyCC, which comes with Bun, and describes what it is given.
 *
 * Invariants:
 * - At a constant rate the schedule never waits for the server. A request that is due while every connection is busy
 *   goes out late, and its latency counts from the moment it was due. (A driver that waits for answers leaves out
 *   the requests of a pause: "coordinated omission".)
 * - A request number is sent once. outcomes[number] says what its client knows of it.
 *
 * It includes no header, since none need be installed, and since those of glibc ignore `packed` under TinyCC.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned u32;

struct timespec { long seconds, nanoseconds; };
struct address { u16 family, port; u32 host; u8 zeros[8]; };
#ifdef __x86_64__
struct event { u32 events, lane, unused; };
#else
struct event { u32 events, gap, lane, unused; };
#endif

extern int *__errno_location(void);
extern int socket(int, int, int);
extern int connect(int, const struct address *, u32);
extern int setsockopt(int, int, int, const void *, u32);
extern long send(int, const void *, unsigned long, int);
extern long recv(int, void *, unsigned long, int);
extern int close(int);
extern int usleep(u32);
extern int sched_setaffinity(int, unsigned long, const void *);
extern int epoll_create1(int);
extern int epoll_ctl(int, int, int, struct event *);
extern long syscall(long, ...);
extern int clock_gettime(int, struct timespec *);
extern void *calloc(unsigned long, unsigned long);
extern void free(void *);
extern void *memmem(const void *, unsigned long, const void *, unsigned long);
extern void *memcpy(void *, const void *, unsigned long);
extern int memcmp(const void *, const void *, unsigned long);

enum { INET = 2, STREAM = 1, TCP = 6, NODELAY = 1, DONTWAIT = 0x40, NOSIGNAL = 0x4000 };
enum { ADD = 1, MODIFY = 3, READABLE = 1, WRITABLE = 4, EPOLL_PWAIT2 = 441, MONOTONIC = 1 };
enum { AGAIN = 11, PROTOCOL_ERROR = 71, TOO_LONG = 90 };
enum { UNKNOWN = 1, ACKNOWLEDGED = 2, REFUSED = 3 };
enum { NUMBER_DIGITS = 10, TIME_DIGITS = 13, HOUR_MS = 3600000 };
enum { ANSWER_MAX = 4096, EVENTS_AT_ONCE = 256, CONNECTS_AT_ONCE = 200, REASONS = 32, REASON_CHARS = 48 };

/* Offsets into `bytes`; number_at and time_at are 0 where a request has no such digits. */
struct requests { u8 *bytes; u32 *starts, *number_at, *time_at; long count; };

struct job {
  struct requests requests;
  u16 *ports;
  long port_count, lanes, capacity;
  double rate_per_s, seconds, grace_s, first_time;
  /* Lost connections are opened again, and a request that is due while none is free is skipped. */
  long is_overload;
  /* Where the thread stays; -1: anywhere. */
  long core;
};

struct found {
  double sent, acknowledged, refused, unknown, skipped, lost_connections, seconds;
};

struct reason { u32 count; char text[REASON_CHARS]; };

struct lane {
  int fd, is_busy, received;
  long number;
  double due;
  u8 *left;
  long left_bytes;
  char answer[ANSWER_MAX + 1];
};

static struct job job;
static struct found *found;
static struct reason *reasons;
static float *latency_ms;
static u8 *outcomes;
static struct lane *lanes;
/* First in, first out, so that no connection stays idle until the server closes it. */
static int *idle;
static long idle_at, idle_count, busy_count, open_count, next_number;
static int poller, failure;
static double started, next_connect;

/* The system's set of cores is a row of bits. */
static void stay_on(long core) {
  unsigned long set[16] = {0}, bits = 8 * sizeof *set;
  if (core < 0 || core >= 16 * bits) return;
  set[core / bits] = 1UL << core % bits;
  if (sched_setaffinity(0, sizeof set, set)) failure = *__errno_location();
}

static double now(void) {
  struct timespec t;
  clock_gettime(MONOTONIC, &t);
  return t.seconds + t.nanoseconds * 1e-9;
}

static double due_at(long place) { return started + place / job.rate_per_s; }

static void watch(int operation, int at, u32 events) {
  struct event event = {0};
  event.events = events;
  event.lane = at;
  epoll_ctl(poller, operation, lanes[at].fd, &event);
}

static void push_idle(int at) { idle[(idle_at + idle_count++) % job.lanes] = at; }

static int pop_idle(void) {
  int at = idle[idle_at];
  idle_at = (idle_at + 1) % job.lanes;
  idle_count--;
  return at;
}

static int open_lane(int at) {
  u16 port = job.ports[at % job.port_count];
  struct address to = {INET, (u16)(port << 8 | port >> 8), 0x0100007f};
  int one = 1, fd = socket(INET, STREAM, 0);
  if (fd < 0) return 0;
  if (connect(fd, &to, sizeof to) != 0) {
    close(fd);
    return 0;
  }
  setsockopt(fd, TCP, NODELAY, &one, sizeof one);
  lanes[at].fd = fd;
  lanes[at].received = 0;
  open_count++;
  watch(ADD, at, READABLE);
  push_idle(at);
  return 1;
}

static int open_lanes(void) {
  for (int at = 0; at < job.lanes; at++) lanes[at].fd = -1;
  for (int at = 0; at < job.lanes; at++) {
    if (!open_lane(at)) return 0;
    /* More at once than the server's backlog would wait a second for a retransmission. */
    if (at % CONNECTS_AT_ONCE == CONNECTS_AT_ONCE - 1) usleep(10000);
  }
  return 1;
}

static void reopen_lanes(void) {
  for (int at = 0; at < job.lanes && open_count < job.lanes; at++)
    if (lanes[at].fd < 0 && !open_lane(at)) break;
  next_connect = now() + 0.05;
}

static void drop_idle(int at) {
  long kept = 0, count = idle_count;
  for (long i = 0; i < count; i++) {
    int one = idle[(idle_at + i) % job.lanes];
    if (one != at) idle[(idle_at + kept++) % job.lanes] = one;
  }
  idle_count = kept;
}

static void close_lane(int at) {
  struct lane *lane = &lanes[at];
  if (lane->is_busy) {
    found->unknown++;
    found->lost_connections++;
    busy_count--;
    lane->is_busy = 0;
  } else {
    drop_idle(at);
  }
  close(lane->fd);
  lane->fd = -1;
  lane->left_bytes = 0;
  open_count--;
}

static void write_digits(u8 *at, int digits, long value) {
  while (digits-- > 0) {
    at[digits] = '0' + value % 10;
    value /= 10;
  }
}

/* What the socket does not take at once is sent when it is writable again. */
static void send_rest(int at) {
  struct lane *lane = &lanes[at];
  long sent = send(lane->fd, lane->left, lane->left_bytes, DONTWAIT | NOSIGNAL);
  if (sent < 0 && *__errno_location() != AGAIN) {
    close_lane(at);
    return;
  }
  if (sent > 0) {
    lane->left += sent;
    lane->left_bytes -= sent;
  }
  if (lane->left_bytes > 0) watch(MODIFY, at, READABLE | WRITABLE);
}

static void send_next(double due) {
  int at = pop_idle();
  struct lane *lane = &lanes[at];
  struct requests *all = &job.requests;
  long which = next_number % all->count;
  if (all->number_at[which]) write_digits(all->bytes + all->number_at[which], NUMBER_DIGITS, next_number);
  if (all->time_at[which])
    write_digits(all->bytes + all->time_at[which], TIME_DIGITS, (long)job.first_time + next_number % HOUR_MS);
  lane->is_busy = 1;
  lane->number = next_number;
  lane->due = due;
  lane->left = all->bytes + all->starts[which];
  lane->left_bytes = all->starts[which + 1] - all->starts[which];
  outcomes[next_number++] = UNKNOWN;
  found->sent++;
  busy_count++;
  send_rest(at);
}

static void send_due(double t) {
  if (job.rate_per_s == 0) {
    while (idle_count > 0 && next_number < job.capacity && t < started + job.seconds) send_next(now());
    return;
  }
  while (next_number + (long)found->skipped < job.capacity) {
    double due = due_at(next_number + (long)found->skipped);
    if (due > t) return;
    if (idle_count > 0) send_next(job.is_overload ? t : due);
    else if (job.is_overload) found->skipped++;
    else return;
  }
}

static char *header(char *head, char *end, const char *lower_name) {
  for (char *at = head; at < end; at++) {
    int i = 0;
    while (lower_name[i] && (at[i] | 32) == (lower_name[i] | 32)) i++;
    if (!lower_name[i]) return at + i;
  }
  return 0;
}

static long number_in(const char *text) {
  long value = 0;
  while (*text == ' ') text++;
  while (*text >= '0' && *text <= '9') value = value * 10 + *text++ - '0';
  return value;
}

/* "503 overloaded": the status, and the code in the body if it has one. */
static void count_reason(char *answer, int length) {
  char text[REASON_CHARS] = {0};
  memcpy(text, answer + 9, 3);
  char *code = memmem(answer, length, "\"code\":\"", 8);
  if (code) {
    text[3] = ' ';
    code += 8;
    for (int i = 4; i < REASON_CHARS - 1 && *code && *code != '"'; i++) text[i] = *code++;
  }
  for (int i = 0; i < REASONS; i++) {
    if (reasons[i].count == 0) memcpy(reasons[i].text, text, REASON_CHARS);
    else if (memcmp(reasons[i].text, text, REASON_CHARS) != 0) continue;
    reasons[i].count++;
    return;
  }
}

static void finish(int at, int length) {
  struct lane *lane = &lanes[at];
  int is_success = lane->answer[9] == '2';
  latency_ms[lane->number] = (now() - lane->due) * 1e3;
  outcomes[lane->number] = is_success ? ACKNOWLEDGED : REFUSED;
  if (is_success) found->acknowledged++;
  else found->refused++;
  if (!is_success) count_reason(lane->answer, length);
  lane->is_busy = 0;
  lane->received = 0;
  busy_count--;
  push_idle(at);
  if (!is_success && header(lane->answer, lane->answer + length, "\r\nconnection: close")) close_lane(at);
}

static void receive(int at) {
  struct lane *lane = &lanes[at];
  long got = recv(lane->fd, lane->answer + lane->received, ANSWER_MAX - lane->received, DONTWAIT);
  if (got < 0 && *__errno_location() == AGAIN) return;
  if (got <= 0) {
    close_lane(at);
    return;
  }
  lane->received += got;
  lane->answer[lane->received] = 0;
  char *head_end = memmem(lane->answer, lane->received, "\r\n\r\n", 4);
  if (memcmp(lane->answer, "HTTP/1.1 ", lane->received < 9 ? lane->received : 9) != 0) failure = PROTOCOL_ERROR;
  else if (!lane->is_busy) failure = PROTOCOL_ERROR;
  else if (head_end) {
    int is_empty = memcmp(lane->answer + 9, "204", 3) == 0;
    char *length = is_empty ? 0 : header(lane->answer, head_end, "\r\ncontent-length:");
    long whole = head_end + 4 - lane->answer + (length ? number_in(length) : 0);
    if (!is_empty && !length) failure = PROTOCOL_ERROR;
    else if (whole > ANSWER_MAX) failure = TOO_LONG;
    else if (lane->received > whole) failure = PROTOCOL_ERROR;
    else if (lane->received == whole) finish(at, whole);
  } else if (lane->received == ANSWER_MAX) {
    failure = TOO_LONG;
  }
}

static void wait_and_receive(void) {
  static struct event events[EVENTS_AT_ONCE];
  long place = next_number + (long)found->skipped;
  int is_waiting_for_due = job.rate_per_s > 0 && idle_count > 0 && place < job.capacity;
  double wait = is_waiting_for_due ? due_at(place) - now() : 0.001;
  struct timespec timeout = {0, wait <= 0 ? 0 : wait > 0.001 ? 1000000 : (long)(wait * 1e9)};
  long ready = syscall(EPOLL_PWAIT2, poller, events, EVENTS_AT_ONCE, &timeout, 0L, 0L);
  for (long i = 0; i < ready && !failure; i++) {
    int at = events[i].lane;
    if (lanes[at].fd >= 0 && events[i].events & WRITABLE && lanes[at].left_bytes > 0) {
      watch(MODIFY, at, READABLE);
      send_rest(at);
    }
    if (lanes[at].fd >= 0 && events[i].events & ~WRITABLE) receive(at);
  }
}

static int is_over(double t, int is_stopped) {
  double end = started + job.seconds;
  int has_sent_all = job.rate_per_s ? next_number + found->skipped >= job.capacity : t >= end;
  if (is_stopped || failure || t > end + job.grace_s) return 1;
  if (open_count == 0 && !job.is_overload) return 1;
  return busy_count == 0 && (has_sent_all || next_number == job.capacity);
}

/* A request without an answer has waited until now. */
static void close_all(double t) {
  for (int at = 0; at < job.lanes; at++) {
    if (lanes[at].is_busy) {
      found->unknown++;
      latency_ms[lanes[at].number] = (t - lanes[at].due) * 1e3;
    }
    if (lanes[at].fd >= 0) close(lanes[at].fd);
  }
  if (job.rate_per_s && !job.is_overload)
    for (long number = next_number; number < job.capacity; number++)
      latency_ms[number] = t > due_at(number) ? (t - due_at(number)) * 1e3 : 0;
}

/* Answers 0, or the number of a system's error. `stop` is set by another thread. */
int load(struct job *given, float *latencies, u8 *outcome_bytes, struct found *result, struct reason *why,
         volatile int *stop) {
  job = *given;
  latency_ms = latencies;
  outcomes = outcome_bytes;
  found = result;
  reasons = why;
  idle_at = idle_count = busy_count = open_count = next_number = failure = 0;
  stay_on(job.core);
  lanes = calloc(job.lanes, sizeof *lanes);
  idle = calloc(job.lanes, sizeof *idle);
  poller = epoll_create1(0);
  int is_open = open_lanes(), error = is_open ? 0 : *__errno_location();
  double t = started = now();
  while (is_open && !is_over(t, *stop)) {
    if (open_count < job.lanes && job.is_overload && t >= next_connect) reopen_lanes();
    send_due(t);
    wait_and_receive();
    t = now();
  }
  found->seconds = t - started;
  close_all(t);
  close(poller);
  free(lanes);
  free(idle);
  return error ? error : failure;
}
