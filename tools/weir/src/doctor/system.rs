//! Findings about the system: limits, clock, kernel facts, helpers.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::output::units;

/// Two descriptors a client connection, and some for files: below this a busy proxy runs out.
const FEW_FILES: u64 = 4_096;
/// Looks at what does not depend on the home.
pub(super) fn check() -> Vec<Finding> {
    vec![
        files(),
        clock(SystemTime::now()),
        helper(
            "certutil",
            "certutil",
            "browsers' own stores (NSS) can be changed",
            "apt install libnss3-tools, to let weir ca install reach Chromium and Firefox",
        ),
        kernel(),
        btf(Path::new("/sys/kernel/btf/vmlinux")),
    ]
}

fn files() -> Finding {
    // The limit that can be had: the proxy raises the soft one itself.
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let message = format!("{} open files at once", units::count(hard));
    if hard < FEW_FILES {
        Finding::warn("file_limit", message, format!("ulimit -n {FEW_FILES} or more, for many connections at once"))
    } else if soft < FEW_FILES {
        Finding::warn(
            "file_limit",
            format!("{} open files at once of {} allowed", units::count(soft), units::count(hard)),
            format!("ulimit -n {hard}, for many connections at once"),
        )
    } else {
        Finding::ok("file_limit", format!("{} open files at once", units::count(soft)))
    }
}

/// Certificates are valid between two times: a clock that is years off breaks every one of them.
fn clock(now: SystemTime) -> Finding {
    // This program cannot run before it was built.
    let built = env::current_exe().and_then(fs::metadata).and_then(|metadata| metadata.modified());
    match built {
        Ok(built) if now + Duration::from_secs(86_400) < built => Finding::fail(
            "clock",
            "the clock is behind the date of this program; certificates will look invalid",
            "set the clock, for instance with timedatectl set-ntp true",
        ),
        _ => Finding::ok("clock", format!("the clock says {}", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC"))),
    }
}

fn helper(code: &'static str, program: &str, good: &str, hint: &str) -> Finding {
    match find_program(program) {
        Some(path) => Finding::ok(code, format!("{} is there: {good}", path.display())),
        None => Finding::warn(code, format!("{program} is not installed"), hint),
    }
}

fn find_program(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

fn kernel() -> Finding {
    let name = rustix::system::uname();
    Finding::ok(
        "kernel",
        format!(
            "{} {} on {}, {}",
            name.sysname().to_string_lossy(),
            name.release().to_string_lossy(),
            name.machine().to_string_lossy(),
            units::counted(std::thread::available_parallelism().map_or(1, usize::from) as u64, "core", "cores")
        ),
    )
}

fn btf(path: &Path) -> Finding {
    if path.exists() {
        Finding::ok("kernel_btf", "the kernel describes its types (BTF)")
    } else {
        Finding::warn(
            "kernel_btf",
            "the kernel does not describe its types (no BTF)",
            "nothing to do for the proxy; capture from packets in the kernel will need a kernel with CONFIG_DEBUG_INFO_BTF",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn an_old_clock_is_noticed() {
        assert_eq!(clock(SystemTime::UNIX_EPOCH).state, State::Fail);
        assert_eq!(clock(SystemTime::now()).state, State::Ok);
    }

    #[test]
    fn codes_are_unique() {
        let findings = check();
        let mut codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), findings.len());
        assert!(findings.iter().all(|finding| (finding.state == State::Ok) == finding.hint.is_none()));
    }
}
