//! The chat page and the document.

use crate::support::edge;

#[tokio::test]
async fn the_page_and_its_parts_are_served_under_a_strict_policy() {
    let edge = edge().await;
    for (path, kind) in [
        ("/?chat=0123&as=alice", "text/html; charset=utf-8"),
        ("/page/chat.js", "text/javascript; charset=utf-8"),
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
    let script = String::from_utf8(edge.get("/page/chat.js").await.body).unwrap();
    for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(markup), "{markup}: a message could become markup");
    }
}

#[tokio::test]
async fn the_page_shows_a_gap_however_it_hears_of_it() {
    let edge = edge().await;
    let script = String::from_utf8(edge.get("/page/chat.js").await.body).unwrap();
    for hears in
        ["if (page.gap) this.gap(page.gap);", "if (name === \"gap\") this.gap(data.after);"]
    {
        assert!(script.contains(hears), "{hears}");
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let edge = edge().await;
    let document = edge.get("/openapi.json").await;
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert!(document.json()["openapi"].as_str().unwrap().starts_with("3."));
}
