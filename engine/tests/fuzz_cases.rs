//! What fuzzing found, replayed: the inputs in `data/fuzz/TARGET/` go through the function of their target.

#[path = "support/fuzzing.rs"]
mod fuzzing;

use std::{fs, path::Path};

type Target = fn(&[u8]);

#[test]
fn cases_found_by_fuzzing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz");
    let targets: [(&str, Target); 6] = [
        ("frame", fuzzing::frame),
        ("packets", fuzzing::packets),
        ("streams", fuzzing::streams),
        ("pcapng", fuzzing::pcapng),
        ("filter", fuzzing::filter),
        ("content", fuzzing::content),
    ];
    let mut replayed = 0;
    for (name, target) in targets {
        let Ok(entries) = fs::read_dir(folder.join(name)) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            println!("{}", path.display());
            target(&fs::read(&path).expect("reads"));
            replayed += 1;
        }
    }
    assert!(replayed > 0, "the kept cases are there");
}
