// The types of the client are those of the API's description, from which
// package.test.js makes generated/openapi.d.ts: each operation has a method, and
// requests and answers have the same members with the same types.
import type { Sojourn } from '@sojourn-go/client';
import type { operations } from './generated/openapi.d.ts';

// The method of each operation. The description must have no others.
interface Methods {
  'create-session': 'create';
  'resolve-session': 'resolve';
  'update-session': 'update';
  'log-in': 'login';
  'elevate-session': 'elevate';
  'rotate-session': 'rotate';
  'regenerate-session': 'regenerate';
  'log-out': 'logout';
  'list-sessions': 'list';
  'search-sessions': 'search';
  'end-sessions': 'endAll';
  'get-session': 'get';
  'end-session': 'end';
  'patch-values': 'patchValues';
  'touch-session': 'touch';
  'replace-values': 'replaceValues';
  'set-value': 'setValue';
  'get-keyed': 'keyedGet';
  'set-keyed': 'keyedSet';
  'touch-keyed': 'keyedTouch';
  'end-keyed': 'keyedEnd';
  'stream-events': 'events';
  'get-stats': 'stats';
}

type Named<T> = { [K in keyof T as string extends K ? never : number extends K ? never : K]: T[K] };
type Body<O extends keyof operations> = operations[O] extends { requestBody: { content: { 'application/json': infer B } } } ? B : never;
type Content<R> = R extends { content: { 'application/json': infer A } } ? A : never;
type Answer<O extends keyof operations> = Content<operations[O]['responses'][keyof operations[O]['responses'] & (200 | 201)]>;
type Ours<O extends keyof Methods> = Awaited<ReturnType<Sojourn[Methods[O]]>>;
type Asked<O extends keyof Methods> = Parameters<Sojourn[Methods[O]]>[0];

function same<T extends true>() {}
type Equal<A, B> = [A] extends [B] ? ([B] extends [A] ? true : { missing: Exclude<A, B> | Exclude<B, A> }) : { missing: Exclude<A, B> | Exclude<B, A> };
type Takes<A, B> = [A] extends [B] ? true : { not: A; but: B };

same<Equal<keyof Methods, keyof operations>>();

type Posts = 'create-session' | 'resolve-session' | 'update-session' | 'log-in' | 'elevate-session' | 'rotate-session' | 'regenerate-session' | 'log-out' | 'get-keyed' | 'set-keyed' | 'touch-keyed' | 'end-keyed';
type Check<O extends keyof Methods> = {
  members: Equal<keyof Named<Answer<O>>, keyof Named<Ours<O>>>;
  types: Takes<Named<Answer<O>>, Ours<O>>;
};
type CheckBody<O extends Posts> = {
  members: Equal<keyof Named<Body<O>>, keyof Named<Asked<O>>>;
  types: Takes<Body<O>, Asked<O>>;
};
type True<T> = { [K in keyof T]: T[K] extends object ? (T[K] extends true ? true : True<T[K]>) : T[K] };
type Good = { members: true; types: true };
type Empty = 'end-session' | 'end-keyed' | 'stream-events' | 'end-sessions'; // their answers are not an object, or have one member

({} as True<{ [O in Posts]: CheckBody<O> }>) satisfies Record<Posts, Good>;
({} as True<{ [O in Exclude<keyof Methods, Empty>]: Check<O> }>) satisfies Record<Exclude<keyof Methods, Empty>, Good>;
