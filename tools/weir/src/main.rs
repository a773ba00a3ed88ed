//! `weir`: the one binary users start.
//!
//! Data flows one way through these rooms:
//!
//! - [`allocator`]: memory that is given back. [`cli`]: what can be typed. [`output`]: what users see.
//! - [`pretty`]: bodies as people read them; [`content`]: the bodies of an exchange.
//! - [`trust`]: where this machine keeps the authorities it trusts.
//! - [`outcome`]: how a command ended. [`signals`]: those that ask for an end.
//! - [`send`]: a captured request sent again.
//! - [`api`]: the control API of a running capture and its client.
//! - [`capture`]: puts proxy, recorder and API together.
//! - [`import`]: recordings of others into a session.
//! - [`doctor`]: findings about this machine.
//! - [`commands`]: one file a command; picks from all of the above.

mod allocator;
mod api;
mod capture;
mod cli;
mod commands;
mod content;
mod doctor;
mod import;
mod outcome;
mod output;
mod pretty;
mod send;
mod signals;
mod trust;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::set_up();
    commands::main()
}
