/**
 * Validates manifests against the schemas of Kubernetes. Those ignore unknown fields, which `kubectl apply` does not,
 * so each field that the schema never inspected is a fault too.
 */
import { Deployment } from "kubernetes-models/apps/v1";
import { HorizontalPodAutoscaler } from "kubernetes-models/autoscaling/v2";
import { PodDisruptionBudget } from "kubernetes-models/policy/v1";
import { ConfigMap, Service } from "kubernetes-models/v1";

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly [field: string]: unknown;
}

interface Model {
  validate(): void;
}

type ModelClass = new (data: never) => Model;

const MODELS: Readonly<Record<string, ModelClass>> = {
  "apps/v1 Deployment": Deployment,
  "autoscaling/v2 HorizontalPodAutoscaler": HorizontalPodAutoscaler,
  "policy/v1 PodDisruptionBudget": PodDisruptionBudget,
  "v1 ConfigMap": ConfigMap,
  "v1 Service": Service,
};

export function faultsOf(manifest: Manifest): string[] {
  const name = `${manifest.apiVersion} ${manifest.kind}`;
  const ModelOfKind = MODELS[name];
  if (ModelOfKind === undefined) return [`there is no schema of ${name} here`];
  const seen = new Set<string>();
  try {
    const model = new ModelOfKind(manifest as never);
    model.validate.call(watched(model, "", seen) as Model);
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
  return fieldsOf(manifest, "").filter((path) => !seen.has(path));
}

/** The same, but `seen` gets the path of each field that is looked at. */
function watched(value: unknown, path: string, seen: Set<string>): unknown {
  if (typeof value !== "object" || value === null) return value;
  return new Proxy(value, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof name === "symbol" || !Object.hasOwn(target, name)) return member;
      seen.add(`${path}/${name}`);
      return watched(member, `${path}/${name}`, seen);
    },
  });
}

function fieldsOf(value: unknown, path: string): string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) => {
    return [`${path}/${name}`, ...fieldsOf(member, `${path}/${name}`)];
  });
}
