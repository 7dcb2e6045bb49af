/** What each fault does to the world, and how it is over. */
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
    case "server-clock":
      world.hotServer(fault.server).skewMs += fault.byMs;
      return;
    case "turn-hour":
      world.wall.skewMs += fault.byMs;
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
  const field = name === "full" ? "isFull" : "isReadOnly";
  const hot = world.hotServer(server);
  hot[field] = true;
  later(() => {
    hot[field] = false;
  });
}

type Restart = Exclude<
  Extract<Fault, { server: ServerName | HotServerName }>,
  { process: number } | OfServer | { name: "server-clock" }
>;

function restart(world: World, fault: Restart, later: Later): void {
  if (fault.server === "mysql") {
    if (world.cold.isDown) return;
    world.stopCold();
    later(() => world.cold.start());
    return;
  }
  const server = world.hotServer(fault.server);
  if (server.isDown) return;
  world.stopHot(server);
  const data = dataAfter(world, fault, server);
  world.noteLoss(server, data);
  server.data = data;
  later(() => server.start(data));
}

/** As it comes back. */
function dataAfter(world: World, fault: Restart, server: HotServer): HotData {
  if (fault.name === "empty") return world.newHotData(server);
  if (fault.name === "restart-server") return server.data;
  return world.takeCopy(fault, server.data) ?? server.data;
}

function strikeLink(world: World, fault: Exclude<Fault, Restart>, later: Later): void {
  if (!("process" in fault && "server" in fault)) return;
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
  }
  later(() => link.heal());
}
