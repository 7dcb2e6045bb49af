/**
 * BROKER_URL: the broker to consume events from. Its scheme names the protocol:
 *
 *   amqp://user:password@host:5672/vhost                        RabbitMQ (AMQP 0-9-1); ?heartbeat=30
 *   kafka://user:password@host:9092,host:9092?sasl=plain        Kafka
 *   amqp10://user:password@host:5672                            AMQP 1.0: ActiveMQ and others
 *
 * amqps://, kafkas:// and amqp10s:// use TLS.
 */
import { type HostPort, hostsOf, hostText, type Login, loginOf } from "./host-list.ts";
import { badEscapeIn, unknownOption } from "./setting-kinds.ts";

export interface RabbitMqPlace {
  readonly kind: "rabbitmq";
  readonly url: string;
}

interface KafkaLogin {
  readonly mechanism: SaslMechanism;
  readonly username: string;
  readonly password: string;
}

export interface KafkaPlace {
  readonly kind: "kafka";
  /** Bootstrap brokers: they name the others. */
  readonly hosts: readonly HostPort[];
  readonly isTls: boolean;
  readonly login: KafkaLogin | undefined;
}

export interface Amqp10Place extends HostPort {
  readonly kind: "amqp10";
  readonly isTls: boolean;
  readonly login: Login;
}

export type BrokerPlace = RabbitMqPlace | KafkaPlace | Amqp10Place;

export const BROKER_NAMES: Readonly<Record<BrokerPlace["kind"], string>> = {
  rabbitmq: "RabbitMQ",
  kafka: "Kafka",
  amqp10: "AMQP 1.0",
};

const SASL = {
  plain: "PLAIN",
  "scram-sha-256": "SCRAM-SHA-256",
  "scram-sha-512": "SCRAM-SHA-512",
} as const;
type SaslMechanism = (typeof SASL)[keyof typeof SASL];

export const EXPECTS_BROKER_URL =
  "a URL such as amqp://user:password@host:5672/vhost (RabbitMQ), kafka://host:9092,host:9092 (Kafka) or " +
  "amqp10://user:password@host:5672 (AMQP 1.0)";

const KAFKA_PORT = 9092;
const AMQP_PORT = 5672;
const AMQPS_PORT = 5671;
const RABBITMQ_OPTIONS = ["heartbeat", "channelMax", "frameMax", "locale"];
const RABBITMQ_URL = /^amqps?:\/\//;
/** Protocol, user and password, hosts, query. */
const KAFKA_URL = /^(kafkas?):\/\/(?:([^@/?#]*)@)?([^@/?#]*)\/?(?:\?([^#]*))?$/;

const AMQP10_URL = /^(amqp10s?):\/\/(?:([^@/?#]*)@)?([^@/?#,]*)\/?$/;

export function isKafkaUrl(text: string): boolean {
  return /^kafkas?:/.test(text);
}

export function brokerPlaceOf(text: string): BrokerPlace | undefined {
  if (problemInBrokerUrl(text) !== undefined) return undefined;
  if (RABBITMQ_URL.test(text)) return URL.parse(text)?.hostname ? { kind: "rabbitmq", url: text } : undefined;
  return kafkaPlaceOf(text) ?? amqp10PlaceOf(text);
}

function amqp10PlaceOf(text: string): Amqp10Place | undefined {
  const [, protocol, userInfo = "", hostPort = ""] = AMQP10_URL.exec(text) ?? [];
  const isTls = protocol === "amqp10s";
  const [place] = hostsOf(hostPort, isTls ? AMQPS_PORT : AMQP_PORT) ?? [];
  const login = loginOf(userInfo);
  if (protocol === undefined || place === undefined || login === undefined) return undefined;
  return { kind: "amqp10", ...place, isTls, login };
}

function kafkaPlaceOf(text: string): KafkaPlace | undefined {
  const [, protocol, userInfo, hostList = "", query = ""] = KAFKA_URL.exec(text) ?? [];
  const hosts = hostsOf(hostList, KAFKA_PORT);
  if (protocol === undefined || hosts === undefined) return undefined;
  return { kind: "kafka", hosts, isTls: protocol === "kafkas", login: kafkaLoginOf(userInfo, query) };
}

function kafkaLoginOf(userInfo: string | undefined, query: string): KafkaLogin | undefined {
  const { username, password = "" } = loginOf(userInfo ?? "") ?? {};
  const mechanism = mechanismIn(query);
  return username === undefined || mechanism === undefined ? undefined : { mechanism, username, password };
}

function mechanismIn(query: string): SaslMechanism | undefined {
  const name = new URLSearchParams(query).get("sasl");
  return Object.entries(SASL).find(([known]) => known === name)?.[1];
}

/** Explains why a URL of a known scheme is refused, quoting no part that may be secret. */
export function problemInBrokerUrl(text: string): string | undefined {
  const badEscape = badEscapeIn(text);
  if (badEscape !== undefined) return badEscape;
  if (RABBITMQ_URL.test(text)) {
    const url = URL.parse(text);
    return url ? unknownOption(url, RABBITMQ_OPTIONS) : undefined;
  }
  const [, , userInfo, , query = ""] = KAFKA_URL.exec(text) ?? [];
  const parameters = new URLSearchParams(query);
  const unknown = unknownOption({ searchParams: parameters }, ["sasl"]);
  if (unknown !== undefined) return unknown;
  const isLogin = Boolean(userInfo);
  if (isLogin === parameters.has("sasl") && isLogin === (mechanismIn(query) !== undefined)) return undefined;
  return `user and password require the option sasl (one of ${Object.keys(SASL).join(", ")}), and it requires them`;
}

export function describeBrokerPlace(place: BrokerPlace): string {
  if (place.kind === "amqp10") return `${place.isTls ? "amqp10s" : "amqp10"}://${hostText(place)}`;
  if (place.kind === "kafka") return `${place.isTls ? "kafkas" : "kafka"}://${place.hosts.map(hostText).join(",")}`;
  const { protocol, host, pathname } = new URL(place.url);
  return `${protocol}//${host}${pathname === "/" ? "" : pathname}`;
}
