/** Creates the sources of events that the settings name, if they name any. */

import type { Pipeline } from "../pipeline/pipeline.ts";
import type { Log } from "../runtime/log.ts";
import { AMQP, AmqpSource, describeAmqp } from "./amqp/queue-source.ts";
import { MessageIntake } from "./message-intake.ts";
import type { Source } from "./source.ts";

export interface SourceSettings {
  readonly amqpUrl: string | undefined;
  readonly amqpQueue: string | undefined;
  readonly amqpPrefetch: number;
}

export interface SourcesOptions {
  readonly pipeline: Pipeline;
  readonly log: Log;
  readonly now: () => number;
}

export function createSources(settings: SourceSettings, options: SourcesOptions): readonly Source[] {
  const { amqpUrl: url, amqpQueue: queue, amqpPrefetch: prefetch } = settings;
  if (url === undefined || queue === undefined) return [];
  const origin = `${AMQP}:${queue}`;
  const intake = new MessageIntake({ ...options, name: AMQP, origin });
  return [new AmqpSource({ url, queue, prefetch, intake, log: options.log })];
}

/** For the start-up lines: never with a password. */
export function sourceDescriptions({ amqpUrl: url, amqpQueue: queue }: SourceSettings): string[] {
  return url === undefined || queue === undefined ? [] : [describeAmqp({ url, queue })];
}
