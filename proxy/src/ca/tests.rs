//! Tests of the certificate authority, against openssl and python where they judge better than we do.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, sync::Arc};

use rcgen::KeyPair;
use time::{Duration, OffsetDateTime};

use super::{authority::now, *};

fn run(command: &mut Command) -> String {
    let output = command.output().expect("starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn is_created_once_with_a_private_key_file() {
    let home = tempfile::tempdir().expect("makes");
    let dir = home.path().join("ca");
    assert!(Authority::load(&dir).expect("looks").is_none());
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| Authority::load_or_create(&dir).expect("makes"))).collect();
        threads.into_iter().map(|thread| thread.join().expect("ends").fingerprint()).collect()
    });
    assert!(made.iter().all(|fingerprint| *fingerprint == made[0]), "{made:?}");
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir.join(KEY_FILE)), 0o600);
    assert_eq!(mode(&dir), 0o700);
    let names: Vec<_> = fs::read_dir(&dir).expect("lists").map(|entry| entry.expect("reads").file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");

    fs::set_permissions(dir.join(KEY_FILE), fs::Permissions::from_mode(0o640)).expect("loosens");
    let error = Authority::load_or_create(&dir).expect_err("refuses").to_string();
    assert!(error.contains("chmod 600") && error.contains("0640"), "{error}");
    fs::remove_file(dir.join(KEY_FILE)).expect("removes");
    assert!(matches!(Authority::load_or_create(&dir), Err(CaError::KeyMissing { .. })));
}

#[test]
fn openssl_accepts_the_ca_and_its_leaves() {
    let home = tempfile::tempdir().expect("makes");
    let dir = home.path();
    let authority = Authority::load_or_create(dir).expect("makes");
    let ca = authority.certificate_path().expect("has one");
    let long = format!("{}.{}.example.com", "a".repeat(63), "b".repeat(63));
    for (host, check) in [
        ("Example.com.", "-verify_hostname"),
        ("foo_bar.example.com", "-verify_hostname"),
        ("xn--bcher-kva.example", "-verify_hostname"),
        (&long, "-verify_hostname"),
        ("127.0.0.1", "-verify_ip"),
        ("[2001:db8::1]", "-verify_ip"),
    ] {
        let leaf = authority.leaf(host).expect(host);
        assert_eq!(leaf.cert.len(), 1);
        let path = dir.join("leaf.pem");
        fs::write(&path, encoding::pem("CERTIFICATE", &leaf.cert[0])).expect("writes");
        let bare = host.trim_matches(['[', ']', '.']).to_ascii_lowercase();
        run(Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", "sslserver", check, &bare, "-CAfile"])
            .arg(&ca)
            .arg(&path));
    }
    let text =
        run(Command::new("openssl").args(["x509", "-noout", "-text", "-fingerprint", "-sha256", "-in"]).arg(&ca));
    for expected in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "Subject Key Identifier", "CN = weir CA "] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(text.contains(&authority.fingerprint()), "{text}");
    let text = run(Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(dir.join("leaf.pem")));
    for expected in ["CA:FALSE", "Digital Signature", "TLS Web Server Authentication", "Authority Key Identifier"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn leaves_are_kept_and_renewed_before_they_end() {
    let authority = Authority::ephemeral().expect("makes");
    let host = HostName::parse("a.example").expect("parses");
    let now = now();
    let first = authority.leaf_at(&host, now).expect("signs");
    assert!(Arc::ptr_eq(&first, &authority.leaf("A.EXAMPLE.").expect("finds")));
    let (_, x509) = x509_parser::parse_x509_certificate(&first.cert[0]).expect("parses");
    let (begin, end) = (x509.validity().not_before.to_datetime(), x509.validity().not_after.to_datetime());
    assert!(end - begin < Duration::days(200) && begin <= now - Duration::days(2) + Duration::seconds(1));
    assert!((x509.tbs_certificate.raw_serial().len()) == 17, "{:?}", x509.tbs_certificate.raw_serial());
    let later = authority.leaf_at(&host, now + Duration::days(61)).expect("signs");
    assert!(!Arc::ptr_eq(&first, &later));
    // A leaf never outlives its CA.
    let (_, ca_end) = authority.validity();
    let last = authority.leaf_at(&host, OffsetDateTime::from_unix_timestamp(ca_end - 3_600).expect("is a time"));
    let last = last.expect("signs");
    let (_, x509) = x509_parser::parse_x509_certificate(&last.cert[0]).expect("parses");
    assert_eq!(x509.validity().not_after.timestamp(), ca_end);
}

/// Makes a CA with openssl; returns certificate and key.
fn openssl_ca(dir: &Path, key_arguments: &[&str], name: &str) -> (Vec<u8>, Vec<u8>) {
    let (certificate, key) = (dir.join("other.crt"), dir.join("other.key"));
    run(Command::new("openssl").args(key_arguments).arg("-out").arg(&key));
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-new",
            "-days",
            "30",
            "-subj",
            name,
            "-addext",
            "keyUsage=critical,keyCertSign",
            "-key",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&certificate));
    (fs::read(certificate).expect("reads"), fs::read(key).expect("reads"))
}

#[test]
fn imports_keys_in_every_usual_form() {
    let home = tempfile::tempdir().expect("makes");
    let dir = home.path();
    let own = Authority::load_or_create(&dir.join("ca")).expect("makes").fingerprint();
    for arguments in [
        &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..],
        &["genrsa", "-traditional"],
        &["ecparam", "-genkey", "-noout", "-name", "prime256v1"],
        &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp384r1"],
        &["genpkey", "-algorithm", "ED25519"],
    ] {
        let (certificate, key) = openssl_ca(dir, arguments, "/C=DE/O=Acme/CN=Acme Test CA");
        let imported = Authority::import(&dir.join("ca"), &certificate, &key).expect("imports");
        assert_eq!(imported.name(), "Acme Test CA");
        let again = Authority::load_or_create(&dir.join("ca")).expect("loads");
        assert_eq!(again.fingerprint(), imported.fingerprint());
        let leaf = again.leaf("a.example").expect("signs");
        fs::write(dir.join("leaf.pem"), encoding::pem("CERTIFICATE", &leaf.cert[0])).expect("writes");
        run(Command::new("openssl")
            .args(["verify", "-verify_hostname", "a.example", "-CAfile"])
            .arg(dir.join("ca").join(CERTIFICATE_FILE))
            .arg(dir.join("leaf.pem")));
    }
    assert!(dir.join("ca").join("weir-proxy-ca.key.previous").exists());
    assert_ne!(Authority::load_or_create(&dir.join("ca")).expect("loads").fingerprint(), own);
}

#[test]
fn import_refuses_what_cannot_work() {
    let home = tempfile::tempdir().expect("makes");
    let dir = home.path();
    let ec = &["ecparam", "-genkey", "-noout", "-name", "prime256v1"][..];
    let (certificate, key) = openssl_ca(dir, ec, "/CN=A");
    let (_, other_key) = openssl_ca(dir, ec, "/CN=B");
    let import = |certificate: &[u8], key: &[u8]| Authority::import(&dir.join("ca"), certificate, key);
    assert!(matches!(import(&certificate, &other_key), Err(CaError::Mismatch)));
    assert!(matches!(import(b"nonsense", &key), Err(CaError::NoCertificate { .. })));
    assert!(matches!(import(&certificate, b"nonsense"), Err(CaError::NoKey { .. })));
    fs::write(dir.join("key.pem"), &key).expect("writes");
    run(Command::new("openssl")
        .args(["pkey", "-aes256", "-passout", "pass:x", "-in"])
        .arg(dir.join("key.pem"))
        .arg("-out")
        .arg(dir.join("encrypted.pem")));
    let encrypted = fs::read(dir.join("encrypted.pem")).expect("reads");
    assert!(matches!(import(&certificate, &encrypted), Err(CaError::EncryptedKey { .. })));

    let leaf_key = KeyPair::generate().expect("makes");
    let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("builds");
    let leaf = params.self_signed(&leaf_key).expect("signs");
    assert!(matches!(import(leaf.pem().as_bytes(), leaf_key.serialize_pem().as_bytes()), Err(CaError::NotACa { .. })));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = params.self_signed(&leaf_key).expect("signs");
    let error = import(expired.pem().as_bytes(), leaf_key.serialize_pem().as_bytes()).expect_err("refuses");
    assert!(matches!(error, CaError::NotValidNow { .. }), "{error}");
    assert!(!dir.join("ca").exists(), "nothing was written");
}

#[test]
fn other_programs_open_the_forms_it_is_given_out_in() {
    let home = tempfile::tempdir().expect("makes");
    let authority = Authority::ephemeral().expect("makes");
    let path = home.path().join("ca.p12");
    fs::write(&path, authority.pkcs12()).expect("writes");
    let password = format!("pass:{PKCS12_PASSWORD}");
    let text = run(Command::new("openssl").args(["pkcs12", "-nokeys", "-passin", &password, "-in"]).arg(&path));
    assert!(text.contains(authority.certificate_pem().trim()), "{text}");
    assert!(text.contains(authority.name()), "{text}");
    // Java is not on every machine; where it is, it has to find a trusted certificate.
    if let Ok(output) =
        Command::new("keytool").args(["-list", "-storepass", PKCS12_PASSWORD, "-keystore"]).arg(&path).output()
    {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("trustedCertEntry"), "{text}");
    }

    let path = home.path().join("ca.mobileconfig");
    fs::write(&path, authority.mobileconfig()).expect("writes");
    let program = "import plistlib, sys, hashlib\n\
        p = plistlib.load(open(sys.argv[1], 'rb'))\n\
        c = p['PayloadContent'][0]\n\
        assert p['PayloadType'] == 'Configuration' and c['PayloadType'] == 'com.apple.security.root'\n\
        assert p['PayloadUUID'] != c['PayloadUUID']\n\
        print(hashlib.sha256(c['PayloadContent']).hexdigest().upper())";
    let text = run(Command::new("python3").args(["-c", program]).arg(&path));
    assert_eq!(text.trim(), authority.fingerprint().replace(':', ""));
}
