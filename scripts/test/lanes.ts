/**
 * Runs jobs in several lanes: a lane takes the next job once it is done with one. Jobs that must run alone come last,
 * with all other lanes idle.
 */
export interface Job {
  readonly name: string;
  readonly runsAlone: boolean;
  run(lane: number): Promise<void>;
}

export interface Progress {
  started(job: Job): void;
  ended(job: Job, seconds: number): void;
}

export async function runInLanes(jobs: readonly Job[], lanes: number, progress: Progress): Promise<void> {
  const alone = jobs.filter((job) => job.runsAlone);
  const queue = jobs.filter((job) => !job.runsAlone);
  const runLane = async (lane: number): Promise<void> => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) await runJob(job, lane, progress);
  };
  await Promise.all(Array.from({ length: lanes }, (_, lane) => runLane(lane)));
  for (const job of alone) await runJob(job, 0, progress);
}

async function runJob(job: Job, lane: number, progress: Progress): Promise<void> {
  const startMs = performance.now();
  progress.started(job);
  await job.run(lane);
  progress.ended(job, (performance.now() - startMs) / 1_000);
}
