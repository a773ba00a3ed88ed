//! Names of containers in the paths of cgroups.
//!
//! In: `/proc/PID/cgroup`, or the number of a cgroup. Out: a process's name with its container.

use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

/// Hexadecimal digits of a container's id that are shown, as `docker ps` does.
const SHOWN: usize = 12;
/// Folders of the cgroup tree looked at for one number at most, and how deep.
const MAX_FOLDERS: usize = 4_096;
const MAX_DEPTH: usize = 8;

/// The name of a process, with its container in brackets where it is in one: `nginx [docker:0123456789ab]`.
pub(super) fn labelled(name: &str, cgroups: &str) -> Arc<str> {
    cgroups.lines().find_map(container).map_or_else(|| name.into(), |container| format!("{name} [{container}]").into())
}

/// The container in a path: Docker, containerd, CRI-O, Podman by their 64-digit ids, LXC and nspawn by their names.
fn container(path: &str) -> Option<String> {
    let mut parts = path.rsplit('/');
    parts.find_map(|part| {
        let part = part.strip_suffix(".scope").or_else(|| part.strip_suffix(".service")).unwrap_or(part);
        if let Some(name) = part.strip_prefix("lxc.payload.").or_else(|| part.strip_prefix("lxc.payload/")) {
            return Some(format!("lxc:{name}"));
        }
        if let Some(name) = part.strip_prefix("machine-").or_else(|| part.strip_prefix("systemd-nspawn@")) {
            return Some(format!("nspawn:{name}"));
        }
        let (runtime, id) = part.rsplit_once('-').unwrap_or_else(|| {
            let is_docker = path.contains("/docker/");
            (if is_docker { "docker" } else { "container" }, part)
        });
        let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| format!("{runtime}:{}", &id[..SHOWN]))
    })
}

/// The path below the root of the cgroup2 tree of the cgroup with this number: the inode of its folder.
pub(super) fn path_of(root: &Path, number: u64) -> Option<String> {
    let mut folders = vec![(root.to_owned(), 0)];
    let mut looked_at = 0;
    while let Some((folder, depth)) = folders.pop() {
        looked_at += 1;
        if looked_at > MAX_FOLDERS {
            return None;
        }
        if fs::metadata(&folder).is_ok_and(|metadata| metadata.ino() == number) {
            return Some(folder.strip_prefix(root).ok()?.to_string_lossy().into_owned());
        }
        if depth < MAX_DEPTH {
            let inside = fs::read_dir(&folder).into_iter().flatten().flatten();
            let inside = inside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            folders.extend(inside.map(|entry| (entry.path(), depth + 1)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_containers() {
        let id = "0123456789abcdef".repeat(4);
        for (path, expected) in [
            (format!("0::/system.slice/docker-{id}.scope"), "nginx [docker:0123456789ab]"),
            (format!("8:pids:/docker/{id}\n0::/"), "nginx [docker:0123456789ab]"),
            (format!("0::/kubepods.slice/pod7.slice/cri-containerd-{id}.scope"), "nginx [cri-containerd:0123456789ab]"),
            (format!("4:memory:/kubepods/besteffort/pod7/{id}"), "nginx [container:0123456789ab]"),
            (format!("0::/machine.slice/libpod-{id}.scope/container"), "nginx [libpod:0123456789ab]"),
            ("0::/lxc.payload.web/system.slice/nginx.service".to_owned(), "nginx [lxc:web]"),
            ("0::/user.slice/user-1000.slice/session-2.scope".to_owned(), "nginx"),
            ("0::/".to_owned(), "nginx"),
        ] {
            assert_eq!(&*labelled("nginx", &path), expected, "{path}");
        }
    }
}
