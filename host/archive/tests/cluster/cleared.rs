//! What belongs to a chat goes with it, or with the archive of it.

use archive::{Code, Delete, Name, UnifiedId, Versioning};

use crate::objects::{code, data, get, make, name, put, soon};
use crate::support::Cluster;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "0123456789abcdef0123456789abcdee";

/// Three attachments of a chat, one of them twice, and one of another chat.
async fn filled(nodes: usize) -> (Cluster, Vec<Name>, Name) {
    let cluster = Cluster::start(nodes).await;
    let archive = cluster.node(0).archive();
    make(archive, "attachments", Versioning::Versioned).await;
    make(archive, "chats", Versioning::Unversioned).await;
    let keys = [format!("{TOKEN}/a"), format!("{TOKEN}/b/c"), format!("{TOKEN}/z")];
    let mine: Vec<Name> = keys.iter().map(|key| name("attachments", key)).collect();
    let other = name("attachments", &format!("{OTHER}/a"));
    for (seed, name) in (1..).zip(mine.iter().chain([&mine[0], &other])) {
        put(archive, name, &data(seed, 70_000)).await.unwrap();
    }
    (cluster, mine, other)
}

/// What each node says of some names.
async fn gone(cluster: &Cluster, names: &[Name]) -> Vec<bool> {
    let mut all = Vec::new();
    for node in 0..3 {
        for name in names {
            let got = get(cluster.node(node).archive(), name).await;
            all.push(matches!(got, Err(refusal) if refusal.code == Code::NotFound));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_under_a_chats_token_is_deleted_in_all_versions_and_nothing_else() {
    let (cluster, mine, other) = filled(3).await;
    let leader = cluster.primary(TOKEN);
    let token = TOKEN.parse().unwrap();
    let elsewhere = cluster.node((leader + 1) % 3).archive().clear(token, soon()).await;
    assert_eq!(code(elsewhere), Code::NotReady);
    assert_eq!(gone(&cluster, &mine).await, [false; 9], "nothing was done");
    assert_eq!(cluster.node(leader).archive().clear(token, soon()).await, Ok(4));
    assert_eq!(cluster.node(leader).archive().clear(token, soon()).await, Ok(0), "once");
    assert_eq!(gone(&cluster, &mine).await, [true; 9]);
    assert_eq!(gone(&cluster, &[other]).await, [false; 3]);
}

/// An answer about what there is looks at so many keys, and those that show nothing may be all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_hidden_does_not_keep_what_comes_behind_it() {
    let cluster = Cluster::start_with(3, |config| config.looked_max = 2).await;
    let archive = cluster.node(0).archive();
    make(archive, "attachments", Versioning::Versioned).await;
    let names: Vec<Name> =
        (0..7).map(|index| name("attachments", &format!("{TOKEN}/{index}"))).collect();
    for (seed, name) in (1..).zip(names.iter().chain([&names[5], &names[5]])) {
        put(archive, name, &data(seed, 100)).await.unwrap();
    }
    for name in &names[..5] {
        let delete = Delete { name: name.clone(), version: None, repeat: None };
        archive.delete(delete, soon()).await.unwrap();
    }
    let leader = cluster.node(cluster.primary(TOKEN)).archive();
    assert_eq!(leader.clear(TOKEN.parse().unwrap(), soon()).await, Ok(4), "one of them thrice");
    assert_eq!(gone(&cluster, &names).await, [true; 21]);
}

/// It was still there when its archive was about to be deleted, so they were left to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_that_is_forgotten_while_its_archive_is_deleted_leaves_no_attachments() {
    let (cluster, mine, other) = filled(3).await;
    let leader = cluster.primary(TOKEN);
    let whole = name("chats", TOKEN);
    let stored = put(cluster.node(0).archive(), &whole, &data(9, 500)).await.unwrap();
    cluster.node(leader).has_chat(TOKEN, true);
    cluster.node(leader).forgets_next(TOKEN);
    let delete = Delete { name: whole.clone(), version: Some(stored.version), repeat: None };
    cluster.node((leader + 1) % 3).archive().delete(delete, soon()).await.unwrap();
    assert_eq!(gone(&cluster, &[whole]).await, [true; 3]);
    assert_eq!(gone(&cluster, &mine).await, [true; 9]);
    assert_eq!(gone(&cluster, &[other]).await, [false; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_attachments_of_a_chat_that_is_forgotten_go_before_its_archive_does() {
    let (cluster, mine, other) = filled(3).await;
    let leader = cluster.primary(TOKEN);
    let whole = name("chats", TOKEN);
    let stored = put(cluster.node(0).archive(), &whole, &data(9, 500)).await.unwrap();
    let delete = async |node: usize, version| {
        let delete = Delete { name: whole.clone(), version, repeat: None };
        cluster.node(node).archive().delete(delete, soon()).await
    };
    // No version of it: nothing happens to anything.
    let unknown = UnifiedId(stored.version.0 + 1);
    assert_eq!(code(delete(0, Some(unknown)).await), Code::UnknownVersion);
    assert_eq!(gone(&cluster, &mine).await, [false; 9]);
    // While there is the chat they are the chat's, whatever becomes of its archive.
    cluster.node(leader).has_chat(TOKEN, true);
    delete((leader + 1) % 3, Some(stored.version)).await.unwrap();
    assert_eq!(gone(&cluster, std::slice::from_ref(&whole)).await, [true; 3]);
    assert_eq!(gone(&cluster, &mine).await, [false; 9]);
    cluster.node(leader).has_chat(TOKEN, false);
    delete((leader + 1) % 3, None).await.unwrap();
    assert_eq!(gone(&cluster, &mine).await, [true; 9]);
    assert_eq!(gone(&cluster, &[other]).await, [false; 3]);
}
