//! `carillon cert` as an operator uses it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use tests::carillon::{run, single};

fn folder() -> TempDir {
    TempDir::new().unwrap_or_else(|error| panic!("{error}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_else(|| panic!("{} is no text", path.display()))
}

fn mode(path: &Path) -> u32 {
    let metadata =
        std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.permissions().mode() & 0o777
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn certificates_are_made_renewed_and_never_written_over_by_accident() {
    let folder = folder();
    let (ca, nodes) = (folder.path().join("deep/ca"), folder.path().join("nodes"));
    let make_ca = ["cert", "ca", "--out", text(&ca)];
    let made = run(&make_ca).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!((mode(&ca.join("ca.key")), mode(&ca.join("ca.pem"))), (0o600, 0o644));
    let before = read(&ca.join("ca.pem"));
    let again = run(&make_ca).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.err.contains("is there already, and nothing was written"), "{again:?}");
    assert_eq!(read(&ca.join("ca.pem")), before);

    let node =
        ["cert", "node", "n1", "--ca", text(&ca), "--out", text(&nodes), "--host", "localhost"];
    let made = run(&node).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let (certificate, key) = (nodes.join("n1.pem"), nodes.join("n1.key"));
    assert_eq!((mode(&key), mode(&certificate)), (0o600, 0o644));
    assert_eq!(read(&nodes.join("ca.pem")), before, "a node needs it beside its own");
    let first = read(&certificate);
    let again = run(&node).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.err.contains("--replace"), "{again:?}");
    assert_eq!(read(&certificate), first);
    let renewed = run(&[&node[..], &["--replace"]].concat()).await;
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    assert_ne!(read(&certificate), first);
    assert_eq!(mode(&key), 0o600);
}

#[tokio::test]
async fn what_cannot_be_made_is_told_in_sentences() {
    let folder = folder();
    let (ca, other, out) =
        (folder.path().join("ca"), folder.path().join("other"), folder.path().join("out"));
    for authority in [&ca, &other] {
        assert_eq!(run(&["cert", "ca", "--out", text(authority)]).await.code, Some(0));
    }
    let node = async |name: &str, authority: &Path, more: &[&str]| {
        let args = ["cert", "node", name, "--ca", text(authority), "--out", text(&out)];
        run(&[&args[..], more].concat()).await
    };
    assert_eq!(node("n1", &ca, &[]).await.code, Some(0));
    for (ended, code, words) in [
        (node("N 1", &ca, &[]).await, 2, "is not a DNS label"),
        (node("n2", &out, &[]).await, 2, "ca.key cannot be read"),
        (node("n2", &other, &[]).await, 1, "is of another authority"),
        (node("n2", &ca, &["--host", "two words"]).await, 2, "is no address and no DNS name"),
        (run(&["cert", "ca", "--out", "/dev/null/ca"]).await, 1, "cannot be made"),
    ] {
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.err.contains(words), "{words}: {ended:?}");
    }
    assert!(!out.join("n2.pem").exists() && !out.join("n2.key").exists());
}

#[tokio::test]
async fn a_check_looks_at_the_certificates_too() {
    let folder = folder();
    let ca = folder.path().join("ca");
    let out = folder.path();
    assert_eq!(run(&["cert", "ca", "--out", text(&ca), "--cluster", "c1"]).await.code, Some(0));
    for name in ["n1", "n2"] {
        let made = run(&["cert", "node", name, "--ca", text(&ca), "--out", text(out)]).await;
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    let check = async |cluster: &str, certificate: &str, key: &str| {
        let config = single(out, "");
        let text = read(Path::new(&config));
        let text = text.replace(
            "[quic]\n",
            &format!("[quic]\ncert = \"{certificate}\"\nkey = \"{key}\"\nca = \"ca.pem\"\n"),
        );
        let text = text.replace("[cluster]\n", &format!("[cluster]\nname = \"{cluster}\"\n"));
        std::fs::write(&config, text).unwrap_or_else(|error| panic!("{error}"));
        run(&["check", &config]).await
    };
    let good = check("c1", "n1.pem", "n1.key").await;
    assert_eq!(good.code, Some(0), "{good:?}");
    for (ended, words) in [
        (check("c1", "n2.pem", "n2.key").await, "not in the name of node n1"),
        (check("c1", "n1.pem", "n2.key").await, "do not fit"),
        (check("c2", "n1.pem", "n1.key").await, "of cluster c1, and cluster.name is c2"),
        (check("c1", "n3.pem", "n1.key").await, "n3.pem"),
    ] {
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.err.contains(words), "{words}: {ended:?}");
    }
}
