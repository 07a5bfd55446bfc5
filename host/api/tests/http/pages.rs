//! The chat page and the document.

use crate::support::edge;

#[tokio::test]
async fn the_page_and_its_parts_are_served_under_a_strict_policy() {
    let edge = edge().await;
    for (path, kind) in [
        ("/?chat=0123&as=alice", "text/html; charset=utf-8"),
        ("/page/chat.js", "text/javascript; charset=utf-8"),
        ("/page/asking.js", "text/javascript; charset=utf-8"),
        ("/page/reading.js", "text/javascript; charset=utf-8"),
        ("/page/chat.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ] {
        let page = edge.get(path).await;
        assert_eq!((page.status, page.header("content-type")), (200, Some(kind)), "{path}");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    }
}

#[tokio::test]
async fn the_page_has_no_script_of_its_own_and_writes_no_markup() {
    let edge = edge().await;
    let page = String::from_utf8(edge.get("/").await.body).unwrap();
    assert!(page.contains("<script src=\"/page/chat.js\" type=\"module\"></script>"));
    assert!(!page.contains(" style=\"") && !page.contains(" onclick"), "the policy forbids it");
    for file in ["chat.js", "asking.js", "reading.js"] {
        let script = edge.get(&format!("/page/{file}")).await;
        let script = String::from_utf8(script.body).unwrap();
        for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!script.contains(markup), "{file}, {markup}: a message could become markup");
        }
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let edge = edge().await;
    let document = edge.get("/openapi.json").await;
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert!(document.json()["openapi"].as_str().unwrap().starts_with("3."));
}
