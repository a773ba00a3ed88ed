//! Compiles the eBPF programs in `bpf/` with clang, so that they lie in the library.
//!
//! In: `bpf/*.bpf.c`. Out: one object a program in `OUT_DIR`. Where clang or libbpf's headers are missing the objects are
//! empty and `bpf_missing.txt` says why: weir is built all the same, and says so when it runs.
//! `WEIR_WITHOUT_BPF=1` builds without them on purpose.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const PROGRAMS: [&str; 4] = ["http_filter", "fanout", "process", "xdp_redirect"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=WEIR_WITHOUT_BPF");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let missing = all(&out).err().unwrap_or_default();
    if !missing.is_empty() {
        println!("cargo::warning=built without eBPF: {missing}");
        for program in PROGRAMS {
            write(&out.join(format!("{program}.bpf.o")), "");
        }
    }
    write(&out.join("bpf_missing.txt"), &missing);
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Compiles all programs, or says why not.
fn all(out: &Path) -> Result<(), String> {
    if env::var_os("CARGO_CFG_TARGET_OS").is_none_or(|os| os != "linux") {
        return Err("only Linux has it".to_owned());
    }
    if env::var_os("WEIR_WITHOUT_BPF").is_some_and(|value| !value.is_empty() && value != "0") {
        return Err("WEIR_WITHOUT_BPF was set".to_owned());
    }
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    PROGRAMS.into_iter().try_for_each(|program| compile(&clang, &arch, program, out))
}

fn compile(clang: &str, arch: &str, program: &str, out: &Path) -> Result<(), String> {
    let object = out.join(format!("{program}.bpf.o"));
    let (define, include) = match arch {
        "aarch64" => ("-D__TARGET_ARCH_arm64", "-I/usr/include/aarch64-linux-gnu"),
        _ => ("-D__TARGET_ARCH_x86", "-I/usr/include/x86_64-linux-gnu"),
    };
    // -g: the maps are described in BTF.
    let result = Command::new(clang)
        .args(["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", define, include, "-c"])
        .arg(format!("bpf/{program}.bpf.c"))
        .arg("-o")
        .arg(&object)
        .output()
        .map_err(|error| format!("{clang} cannot be run ({error})"))?;
    let messages = String::from_utf8_lossy(&result.stderr);
    if !result.status.success() {
        let first = messages.lines().find(|line| line.contains("error")).unwrap_or("no message");
        return Err(format!("{clang} failed on {program}.bpf.c: {first}"));
    }
    messages.lines().for_each(|line| println!("cargo::warning={line}"));
    // Without the debugging sections it is a fifth of the size; with them it works as well.
    let _ = Command::new("llvm-strip").arg("-g").arg(&object).status();
    Ok(())
}
