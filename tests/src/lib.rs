//! What the stories in `stories/` share: starting weir, clients and servers, and ending them.
