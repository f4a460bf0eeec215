import type session from 'express-session';
import type { Sojourn } from './index.js';

export interface StoreOptions {
  /**
   * Returns the user who is logged in, from the application's own value in the
   * session: (session) => session.passport?.user. With it, the server can list, limit
   * and end the user's sessions. To log out, call regenerate or destroy: a session
   * from which only the user's value was removed stays in the lists of that user.
   * Default: all sessions are visitors'.
   */
  subject?: (session: session.SessionData & Record<string, any>) => string | number | undefined;
  /** The store that the application used before: sessions move from it when they are next used. Default none. */
  old?: Pick<session.Store, 'get' | 'destroy'>;
}

/**
 * A store for express-session, for applications that keep it:
 * session({ store: sojournStore(session, client), secret, … }). Parallel requests
 * that change different members of req.session lose nothing. A session that was
 * destroyed elsewhere doesn't come back: a later save fails with the code "ended".
 */
export function sojournStore(express: { Store: typeof session.Store }, client: Sojourn, options?: StoreOptions): session.Store;
