import type { RequestHandler } from 'express';
import type { Adoption, LoginOptions, SessionInfo, Sojourn } from './index.js';

// The types of express-session would declare req.session a second time.
type Old = Record<string, any>;
type Get = (sid: string, callback: (error: any, session?: any) => void) => void;
type Set = (sid: string, session: any, callback?: (error?: any) => void) => void;

export interface OldOptions {
  /** The store that the old application gave to express-session. */
  store: { get: Get };
  /** The old application's secret, or its list of secrets. */
  secret: string | string[];
  /** The name of the old cookie. Default connect.sid. */
  name?: string;
  /** Path and Domain of the old cookie. Default "/", and the host alone. */
  path?: string;
  domain?: string;
  /** Returns the user who is signed in, from the old session, or undefined for a visitor. */
  subject: (session: Old) => string | number | undefined | null | Promise<string | number | undefined | null>;
  /** The values to keep. Default none. A visitor without values is not adopted. */
  values?: (session: Old) => Record<string, unknown> | Promise<Record<string, unknown>>;
  /** How the user logged in: remember, level, amr. */
  login?: (session: Old) => LoginOptions | Promise<LoginOptions>;
  /**
   * Leaves the old cookie in the browser, and the old session in its store, until
   * the user logs out. Default false: the answer that sets the new cookie clears the
   * old one.
   */
  keep?: boolean;
  /** Ends an old session. It is called when the session has been adopted, or with keep at the logout. Default: the session stays in its store. */
  end?: (sid: string) => unknown;
}

/**
 * The middleware's option adopt, for an application that comes from
 * express-session. A browser that has a session of express-session, and none of
 * the server, gets one with the user and the values that the functions return.
 * Each old session is adopted once, whatever runs in parallel. If the old store
 * can't answer, the request fails with a Problem (503).
 */
export function fromExpressSession(options: OldOptions): Adoption;

export interface BackOptions {
  store: { get: Get; set: Set };
  secret: string | string[];
  name?: string;
  /** The option cookie of express-session. */
  cookie?: { path?: string; domain?: string; maxAge?: number; httpOnly?: boolean; secure?: boolean | 'auto'; sameSite?: boolean | 'lax' | 'strict' | 'none' | 'auto' };
  /** Puts what the old application needs into its session: the user, the cart. */
  put: (old: Old, session: SessionInfo & { values: Record<string, any> }) => unknown;
}

/**
 * Middleware for the way back: app.use(backToExpressSession(…)) before
 * app.use(session(…)). A browser that has a session of the server gets one of
 * express-session, and the server's session ends.
 */
export function backToExpressSession(client: Sojourn, options: BackOptions): RequestHandler;
