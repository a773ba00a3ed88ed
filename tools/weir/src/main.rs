//! `weir`: the one binary users start.

fn main() {}
