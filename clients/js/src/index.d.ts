/** A session, as the server tells of it. Later versions may add members. */
export interface SessionInfo {
  /** Names the session. Not a secret. Stays the same through login and rotation. */
  id: string;
  /** The user who is logged in. Empty: nobody. */
  subject: string;
  created_at: string;
  /** The last login or elevation. Absent while nobody is logged in. */
  authenticated_at?: string;
  last_seen_at: string;
  idle_expires_at: string;
  expires_at: string;
  /** How the user authenticated (RFC 8176). */
  amr: string[];
  /** The level of the authentication, 0 to 3. */
  level: number;
  /** The user asked to stay signed in. */
  remembered: boolean;
  /** The cookie has no Max-Age, so the browser drops it when it closes. */
  until_browser_closes: boolean;
  /** The session is bound to a key of its browser, so a copied cookie is refused after minutes. */
  bound: boolean;
  /** The session is in its token and not on the server: each change makes a new token. Absent: false. */
  sealed?: boolean;
  /** The client that was seen last. */
  client: { ip?: string; user_agent?: string; name?: string };
  /** Grows with each change. */
  revision: number;
  /** The application's data: key to any JSON. Lists leave it out. */
  values?: Record<string, any>;
}

/** Conditions of a search. Times are in RFC 3339. */
export interface SearchQuery {
  subject?: string;
  subject_prefix?: string;
  logged_in?: boolean;
  remembered?: boolean;
  /** The lowest level. */
  level?: number;
  /** An address, or a network such as 203.0.113.0/24. */
  network?: string;
  /** A part of the user agent. */
  user_agent?: string;
  created_from?: string;
  created_to?: string;
  seen_from?: string;
  seen_to?: string;
  limit?: number;
  cursor?: string;
}

/** A session of a user that ended within the last hour. */
export interface EndedSession {
  id: string;
  subject: string;
  created_at: string;
  ended_at: string;
  /** logout, revoked, idle, absolute, evicted or theft. */
  reason: string;
  /** The client that was seen last. */
  client: { ip?: string; user_agent?: string; name?: string };
}

/** Why a session is over, or a token isn't accepted. */
export type Why = 'unknown' | 'idle' | 'absolute' | 'logout' | 'revoked' | 'evicted' | 'theft' | 'superseded' | 'throttled' | 'unproven' | 'adopt';

/** What a page demands of a session, besides a login. */
export interface Requirement {
  /** The lowest level of the login. Default 0. */
  level?: number;
  /** How many seconds ago the user may have authenticated. Default: any time. */
  fresh?: number;
  /** The session is bound to its browser, and the request has proved that it comes from there. Default false. */
  bound?: boolean;
}

/** What a session lacks. */
export type Unmet = 'anonymous' | 'unproven' | 'level' | 'not_fresh' | 'unbound';

/** Who sent the browser's request. */
export interface RequestClient {
  ip?: string;
  user_agent?: string;
}

/** What a browser's request presented: its token, or its Cookie header. */
export interface Presented {
  token?: string;
  /** The Cookie header as it came; empty if there was none. */
  cookie?: string;
  /** With token: the values of the cookies that prove a bound session. */
  proofs?: string[];
  /** With cookie: the request's method is GET or HEAD. */
  safe?: boolean;
  /** How many milliseconds ago the request arrived. */
  age?: number;
  client?: RequestClient;
}

/** A session by a key of the application's own: 16 to 1024 bytes, random. */
export interface Keyed {
  key: string;
  client?: RequestClient;
}

/** How long a login lasts, and its cookie. */
export interface Lasting {
  /** Keep the user signed in for longer. Default false. */
  remember?: boolean;
  /** The longest life of the session, in seconds from the login. Default, and the most: what the server's policy says. */
  expires_in?: number;
  /** The longest time without activity, in seconds. Default, and the most: what the server's policy says. */
  idle?: number;
  /** The browser drops the cookie when it closes. Not with remember. Default false. */
  until_browser_closes?: boolean;
}

export interface LoginOptions extends Lasting {
  /** How the user authenticated (RFC 8176): ['pwd']. */
  amr?: string[];
  /** The level of the authentication, 0 to 3. Default 1. */
  level?: number;
}

/** What to keep of a session of another library. */
export interface Adopt extends LoginOptions {
  subject?: string;
  values?: Record<string, unknown>;
}

export interface Issued {
  session: SessionInfo;
  token: string;
  /** Send each to the browser as a Set-Cookie header of its own, with Cache-Control: no-store. */
  set_cookie: string[];
  /** Further headers for the browser, by name. */
  headers?: Record<string, string>;
}

export interface Resolved {
  session: SessionInfo | null;
  why?: Why;
  /** With require: what the session lacks. */
  unmet?: Unmet;
  token?: string;
  set_cookie?: string[];
  headers?: Record<string, string>;
}

export interface Updated {
  session: SessionInfo;
  token?: string;
  set_cookie?: string[];
  headers?: Record<string, string>;
}

/** What happened to a session. */
export interface SessionEvent {
  id?: string;
  /** created, authenticated, elevated, rotated, ended, ..., or gap, in place of events that were lost. */
  kind: string;
  time: string;
  app: string;
  session?: string;
  subject?: string;
  client?: RequestClient;
  was?: RequestClient;
  reason?: string;
  refusal?: string;
  amr?: string[];
  level?: number;
  detail?: string;
  lost?: number;
}

export interface Options {
  /** The address of the server's API. Default http://127.0.0.1:7081. */
  url?: string;
  /** The application's API key, a secret. It never appears in an error. */
  key: string;
  /** How long to wait for an answer, in milliseconds. Default 5000. */
  timeout?: number;
}

/**
 * A client of the server's API. Each method is one call; the server's
 * /openapi.json and docs/server.md describe them. A call without success throws a
 * {@link Problem}. Its methods may be called concurrently.
 *
 * Web applications don't call it for their visitors: the middleware does.
 */
export class Sojourn {
  /** Throws a TypeError if the key or the address can't be right. */
  constructor(options: Options);

  create(body: Lasting & { subject?: string; values?: Record<string, unknown>; client?: RequestClient }, options?: { idempotencyKey?: string }): Promise<Issued>;
  /** Finds the session of a browser. If the connection breaks it is tried once more. */
  resolve(body: Presented & { require?: Requirement; passive?: boolean; old?: string; adopt?: Adopt }): Promise<Resolved>;
  update(body: Presented & { set?: Record<string, unknown>; delete?: string[]; values?: Record<string, unknown>; if_revision?: number }): Promise<Updated>;
  login(body: Presented & LoginOptions & { subject: string }): Promise<Issued>;
  elevate(body: Presented & { level: number; amr?: string[] }): Promise<Issued>;
  rotate(body: Presented): Promise<Issued>;
  /** Ends a session, and goes on in a new one with the values of the keys in keep. */
  regenerate(body: Presented & { keep?: string[] }): Promise<Issued>;
  logout(body: Presented): Promise<{ set_cookie: string[] }>;

  /** A page of the live sessions: of a user, or of the whole application. */
  list(query?: { subject?: string; limit?: number; cursor?: string; values?: boolean; ended?: boolean }): Promise<{ sessions: SessionInfo[]; next_cursor?: string; ended?: EndedSession[] }>;
  /** A page of the live sessions that meet every condition. Go on with next_cursor, or stop. */
  search(query?: SearchQuery): Promise<{ sessions: SessionInfo[]; next_cursor?: string; examined: number; share: number }>;
  get(id: string): Promise<SessionInfo>;
  /** Counts as activity of the user. The answer has no values. */
  touch(id: string): Promise<SessionInfo>;
  end(id: string): Promise<void>;
  /** Ends all sessions of a user, except one. */
  endSubject(subject: string, options?: { except?: string }): Promise<{ ended: number }>;
  /** Ends all sessions of the application. */
  endAll(): Promise<{}>;
  /** Applies a JSON Merge Patch (RFC 7396) to a session's values, at a revision or at any. */
  patchValues(id: string, patch: Record<string, unknown>, revision?: number): Promise<SessionInfo>;
  /** Replaces all values of a session. */
  replaceValues(id: string, values: Record<string, unknown>, revision?: number): Promise<SessionInfo>;
  /** Sets or replaces one value of a session. */
  setValue(id: string, key: string, value: unknown, revision?: number): Promise<SessionInfo>;
  stats(): Promise<{ sessions: number; logged_in: number; anonymous: number; visitors_sealed?: boolean }>;
  /** The session under a key of the application's own, for session stores. */
  keyedGet(body: Keyed): Promise<{ session: SessionInfo | null; why?: Why }>;
  keyedSet(body: Keyed & { set?: Record<string, unknown>; delete?: string[]; values?: Record<string, unknown>; update?: boolean; subject?: string; idle?: number }): Promise<{ session: SessionInfo }>;
  keyedTouch(body: Keyed & { idle?: number }): Promise<{ session: SessionInfo }>;
  keyedEnd(body: Keyed): Promise<void>;
  /** The events of the application, until the signal aborts or the server closes the stream. */
  events(options?: { last?: number; follow?: boolean; lastEventId?: string; signal?: AbortSignal }): AsyncGenerator<SessionEvent, void>;
}

/**
 * Why a call failed. `unavailable` means that the session server, or its store,
 * can't answer: the visitor is not anonymous, but unknown. Frameworks answer such
 * an error with its status.
 */
export class Problem extends Error {
  /** What happened, in a word that never changes; docs/server.md lists them. */
  code: string;
  /** The HTTP status for the browser: 503 if the server is away, 500 if it refused the API key. */
  status: number;
  statusCode: number;
  /** With not_live: what happened to the session. */
  why?: Why;
  /** With invalid_request: each mistake, and where it is. */
  errors?: { where: string; detail: string }[];
  /** With why unproven: headers for the browser, which the middleware sends. */
  headers?: Record<string, string>;
  getResponse(): Response;
}

/**
 * The session of one request's browser. It asks the server when it is first
 * asked something, and once. Its methods may be called concurrently.
 *
 * A change is stored when its promise fulfils: await it before you answer. The
 * cookies that belong to it go out with the response's head.
 */
export class Session {
  constructor(client: Sojourn, request: { cookie?: string; method?: string; ip?: string; userAgent?: string; begun?: () => boolean; adopt?: Adoption });

  /** The session, or null for a visitor who has none. */
  load(): Promise<SessionInfo & { values: Record<string, any> } | null>;
  /** A value. A change of the returned object is not saved. */
  get<T = any>(key: string): Promise<T | undefined>;
  /** The user who is logged in. */
  subject(): Promise<string | undefined>;
  id(): Promise<string | undefined>;
  /** Why the session that the browser presented is over, to tell its user. */
  why(): Promise<Why | undefined>;
  /**
   * Throws a Problem if the session doesn't meet a requirement. Its code is
   * anonymous or unproven (status 401), level, not_fresh or unbound (403).
   */
  require(requirement?: Requirement): Promise<void>;
  /** This request is no activity of the user: for pages that poll. Call it first. */
  passive(): this;

  /** Sets one value or several, and starts a session if there is none. For one key the last writer wins. */
  set(key: string, value: unknown): Promise<void>;
  set(values: Record<string, unknown>): Promise<void>;
  delete(...keys: string[]): Promise<void>;
  /**
   * Sets a value to the result of a function, which gets the present one. If
   * another request changes the session meanwhile, the function is called again
   * with the new value. If it returns undefined, the value is removed. It must not
   * change this session itself.
   */
  update<T = any>(key: string, change: (value: T | undefined) => T | undefined | Promise<T | undefined>): Promise<T | undefined>;

  /** Logs a user in, after the application has authenticated them. Values stay; the token is new. */
  login(subject: string, options?: LoginOptions): Promise<void>;
  /** Records a further factor. Call it also when the user's rights or password changed. */
  elevate(level: number, options?: { amr?: string[] }): Promise<void>;
  /** Ends the session for good. */
  logout(): Promise<void>;
  /** The same as logout, in the words of express-session. */
  destroy(): Promise<void>;
  /**
   * Ends the session, and goes on in a new one, in which nobody is logged in. keep:
   * the keys of values that stay, or true for all. Without a session it does nothing.
   */
  regenerate(options?: { keep?: string[] | true }): Promise<void>;

  /**
   * Adds to the headers of the response what the browser and caches must know:
   * cookies, Vary, Cache-Control. The middleware calls it.
   */
  relay(headers: Pick<Headers, 'get' | 'set' | 'append' | 'delete'> & { keys(): Iterable<string> }): void;
}

/** Takes over the sessions of another library: see fromExpressSession. */
export interface Adoption {
  present(cookie: string): unknown;
}

export interface MiddlewareOptions<Request> {
  /** Origins of other sites whose pages may send unsafe requests: https://partner.example. Default none. */
  origins?: string[];
  /** The browser's address. Default: what the framework says. A port is ignored, and what is no address counts as none. */
  ip?: (request: Request) => string | undefined;
  /** Takes over the sessions of another library. Default none. */
  adopt?: Adoption;
}
