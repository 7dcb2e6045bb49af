/**
 * Runs jobs in several lanes: a lane takes the next job once it is done with one. One more lane, of low priority, runs
 * jobs that only compute: it uses the CPU time that the others leave while they wait. Whoever is done with its own jobs
 * takes the other's. Jobs that must run alone come last, with all other lanes idle.
 */
export type Place = "lanes" | "background" | "alone";

export interface Job {
  readonly name: string;
  readonly place: Place;
  run(): Promise<void>;
}

export interface Progress {
  started(job: Job): void;
  ended(job: Job, seconds: number): void;
}

export async function runInLanes(jobs: readonly Job[], lanes: number, progress: Progress): Promise<void> {
  const at = (place: Place) => jobs.filter((job) => job.place === place);
  const [queue, background, alone] = [at("lanes"), at("background"), at("alone")];
  const runAll = async (next: () => Job | undefined): Promise<void> => {
    for (let job = next(); job !== undefined; job = next()) await runJob(job, progress);
  };
  const inLanes = Array.from({ length: lanes }, () => runAll(() => queue.shift() ?? background.shift()));
  await Promise.all([...inLanes, runAll(() => background.shift() ?? queue.shift())]);
  await runAll(() => alone.shift());
}

async function runJob(job: Job, progress: Progress): Promise<void> {
  const startMs = performance.now();
  progress.started(job);
  await job.run();
  progress.ended(job, (performance.now() - startMs) / 1_000);
}
