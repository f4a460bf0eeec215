package forwardauth

// Encode is for tests.
var Encode = encode
