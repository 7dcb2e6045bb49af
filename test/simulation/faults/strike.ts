/** What each fault does to the world, and how it ends. */
import type { HotData } from "../stores/hot/data.ts";
import type { HotServer } from "../stores/hot/server.ts";
import type { World } from "../world/world.ts";
import type { Fault, HotServerName, ServerName } from "./kinds.ts";

/** A fault that is active is not started again: its end would end both. */
export function strike(world: World, fault: Fault): void {
  const { scheduler } = world;
  const later = (act: () => void) => scheduler.after(fault.lastsMs, undefined, act);
  switch (fault.name) {
    case "kill":
      world.kill(fault.process);
      later(() => world.startProcess(fault.process));
      return;
    case "stop":
      void world.stop(fault.process);
      later(() => world.startProcess(fault.process));
      return;
    case "freeze": {
      const process = world.runningAt(fault.process);
      if (process !== undefined) process.frozenUntilMs = scheduler.nowMs + fault.lastsMs;
      return;
    }
    case "freeze-server":
      world.server(fault.server).frozenUntilMs = scheduler.nowMs + fault.lastsMs;
      return;
    case "clock": {
      const process = world.runningAt(fault.process);
      if (process !== undefined) process.skewMs += fault.byMs;
      return;
    }
    case "split":
      split(world, fault, later);
      return;
    case "server-clock":
      world.masters.named(fault.server).skewMs += fault.byMs;
      return;
    case "turn-hour":
      // A loss does not go unnoticed for an hour.
      if (!world.hasLosses) world.wall.skewMs += fault.byMs;
      return;
    case "read-only":
    case "full":
      refuseWrites(world, fault, later);
      return;
    case "restart-server":
    case "lose-writes":
    case "failover":
    case "empty":
      restart(world, fault, later);
      return;
    case "set-back":
      world.setBacks.strike(fault);
      restart(world, { ...fault, name: "restart-server" }, later);
      return;
    case "lose-restored":
      restart(world, { ...fault, name: "empty" }, later);
      world.armed.set(fault.server, fault);
      return;
    default:
      strikeLink(world, fault, later);
  }
}

type Later = (act: () => void) => void;
type OfServer = Extract<Fault, { name: "freeze-server" | "read-only" | "full" }>;

function refuseWrites(world: World, { name, server }: OfServer, later: Later) {
  if (server === "mysql") {
    world.cold.isReadOnly = true;
    later(() => {
      world.cold.isReadOnly = false;
    });
    return;
  }
  const hot = world.masters.named(server);
  if (name === "full") hot.fullSinceMs = world.scheduler.nowMs;
  else hot.isReadOnly = true;
  later(() => {
    if (name === "full") hot.fullSinceMs = undefined;
    else hot.isReadOnly = false;
  });
}

type Restart = Exclude<
  Extract<Fault, { server: ServerName | HotServerName }>,
  { process: number } | OfServer | { name: "server-clock" | "split" | "lose-restored" | "set-back" }
>;

function restart(world: World, fault: Restart, later: Later): void {
  if (fault.server === "mysql") {
    if (world.cold.isDown) return;
    world.cold.stop();
    world.resetLinks(world.slots, "mysql");
    later(() => world.cold.start());
    return;
  }
  const server = world.masters.named(fault.server);
  if (server.isDown) return;
  server.stop();
  world.resetLinks(world.slots, fault.server);
  const data = dataAfter(world, fault, server);
  world.masters.noteLoss(server, {
    before: server.data,
    after: data,
    ...(fault.name !== "failover" && { mayLose: true }),
  });
  server.data = data;
  later(() => server.start(data));
}

/** The master is cut off from its replicas, and from some processes; they take the replica that is promoted. */
function split(world: World, fault: Extract<Fault, { name: "split" }>, later: Later): void {
  const { masters } = world;
  const server = masters.named(fault.server);
  const shard = masters.current.indexOf(server);
  if (server.isDown || masters.isSplit(shard)) return;
  const replica = world.takeCopy(fault, server.data) ?? server.data.copy();
  masters.split(shard, { ...fault, replica });
  const movedSlots = world.slots.filter((slot) => !fault.slots.includes(slot));
  world.resetLinks(movedSlots, fault.server);
  later(() => world.join(shard));
}

/** The data that the server restarts with. */
function dataAfter(world: World, fault: Restart, server: HotServer): HotData {
  if (fault.name === "empty") return world.newHotData(server);
  if (fault.name === "restart-server") return server.data;
  return world.takeCopy(fault, server.data) ?? server.data;
}

type OfLink = Extract<
  Fault,
  { name: "cut" | "hold" | "slow" | "lose-answer" | "lose-request" | "cut-after" | "late-request" }
>;

function strikeLink(world: World, fault: OfLink, later: Later): void {
  const link = world.link(fault.process, fault.server);
  switch (fault.name) {
    case "cut":
      link.cut();
      break;
    case "hold":
      link.heldUntilMs = world.scheduler.nowMs + fault.lastsMs;
      break;
    case "slow":
      link.slowness = fault.factor;
      break;
    case "lose-answer":
      link.answersToLose = fault.count;
      return;
    case "lose-request":
      link.requestsToLose = fault.count;
      return;
    case "cut-after":
      link.cutAfter = fault;
      return;
    case "late-request":
      link.delayOf = fault;
      return;
  }
  later(() => link.heal());
}
