//! The allocator, made to give memory back: a capture runs for days beside other programs.
//!
//! mimalloc by itself asks for huge pages and returns what is free after a second. At rest after 18 thousand and after
//! 2 million exchanges (benches/RESULTS.md, Memory): 86 and 108 MiB then, 52 and 56 MiB so.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc's `mi_option_t`; libmimalloc-sys does not name it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Milliseconds after which free memory goes back to the system.
const PURGE_DELAY_MS: std::ffi::c_long = 100;

/// The same while files are imported: the program ends soon, and every page given back is cleared when it is taken again.
const PURGE_DELAY_OF_IMPORTS_MS: std::ffi::c_long = 10_000;

/// Keeps free memory for a while: for a command that works at full speed and ends. To be called while there is one thread.
#[allow(unsafe_code, reason = "mimalloc's options have no safe interface")]
pub(crate) fn keep() {
    // SAFETY: stores a number in a table of options, which no other thread reads yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_OF_IMPORTS_MS) };
}

/// Sets the allocator's options; to be called first, while there is one thread.
#[allow(unsafe_code, reason = "mimalloc's options have no safe interface")]
pub(crate) fn set_up() {
    // On systems whose huge pages are for everyone; the feature `no_thp` keeps mimalloc from asking where one must ask.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    // SAFETY: stores a number in a table of options, which no other thread reads yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
}
