export { Sojourn } from './client.js';
export { Problem } from './problem.js';
export { Session } from './session.js';
