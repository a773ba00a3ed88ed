//! Findings about eBPF: built in, let in by the kernel, and what the kernel has for it.

use std::path::Path;

use weir_engine::live::{
    bpf::{BpfError, HttpFilter, missing},
    error::CAPABILITIES,
    owners::cgroup2,
};

use super::Finding;

/// Looks at what the programs need. The one that is loaded is gone again at once.
pub(super) fn check() -> Vec<Finding> {
    let mut findings = vec![clang(missing())];
    findings.extend(capability(HttpFilter::load().err()));
    findings.extend([btf(Path::new("/sys/kernel/btf/vmlinux")), cgroup(cgroup2().as_deref())]);
    findings
}

fn clang(missing: Option<&str>) -> Finding {
    match missing {
        None => Finding::ok("bpf_clang", "eBPF programs are built in"),
        Some(reason) => Finding::warn(
            "bpf_clang",
            format!("this weir was built without eBPF programs ({reason}): every packet is copied to user space"),
            "apt install clang llvm libbpf-dev, and build again",
        ),
    }
}

/// `None`: there is nothing to load.
fn capability(error: Option<BpfError>) -> Option<Finding> {
    const CODE: &str = "bpf_capability";
    match error {
        None => Some(Finding::ok(CODE, "the kernel takes the eBPF filter")),
        Some(BpfError::NotBuilt { .. }) => None,
        Some(BpfError::NotPermitted { .. }) => {
            let program = std::env::current_exe().unwrap_or_else(|_| "weir".into());
            let program = crate::capture::welcome::quote(&program.display().to_string());
            Some(Finding::warn(
                CODE,
                "this user may not load eBPF programs: cap_bpf is missing",
                format!("sudo setcap {CAPABILITIES}=ep {program}"),
            ))
        }
        Some(error) => {
            let text = error.to_string();
            let (what, hint) = text.split_once("; ").unwrap_or((&text, "weir works without"));
            Some(Finding::warn(CODE, what, hint))
        }
    }
}

fn btf(path: &Path) -> Finding {
    if path.exists() {
        Finding::ok("btf", "the kernel tells its types (BTF)")
    } else {
        Finding::warn("btf", "the kernel does not tell its types (BTF)", "none: weir's programs do not follow them")
    }
}

fn cgroup(path: Option<&Path>) -> Finding {
    match path {
        Some(path) => Finding::ok("cgroup", format!("processes are told by hooks on {}", path.display())),
        None => Finding::warn(
            "cgroup",
            "no cgroup2 tree is mounted: processes are looked up in /proc, where short connections are missed",
            "sudo mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn says_what_is_missing_and_what_gives_it() {
        assert_eq!(clang(None).state, State::Ok);
        let without = clang(Some("clang cannot be run"));
        assert_eq!((without.code, without.state), ("bpf_clang", State::Warn));
        assert!(without.hint.is_some_and(|hint| hint.contains("clang")));
        let denied = capability(Some(BpfError::NotPermitted { program: "http_filter" })).expect("a finding");
        assert!(denied.hint.is_some_and(|hint| hint.contains("cap_bpf")));
        assert_eq!(capability(Some(BpfError::NotBuilt { reason: "no clang" })), None);
        assert_eq!(btf(Path::new("/nowhere")).state, State::Warn);
        assert_eq!(cgroup(None).state, State::Warn);
    }
}
