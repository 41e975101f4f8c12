//! The log as an auditor reads it.

use tenon_core::Digest;
use tenon_core::fact::SpendRecorded;
use tenon_ledger::{merkle, tiles};

use super::{World, fact};

async fn hashes(world: &World, path: &str) -> Vec<Digest> {
    let answer = world.get(&format!("/log/{path}")).await.ok();
    assert!(answer.headers["cache-control"].to_str().unwrap().contains("immutable"), "{path}");
    let (chunks, rest) = answer.bytes.as_chunks::<32>();
    assert!(rest.is_empty());
    chunks.iter().map(|hash| Digest::from_bytes(*hash)).collect()
}

#[tokio::test]
async fn the_tiles_hash_up_to_the_signed_root() {
    let world = World::new().await;
    let spent = SpendRecorded { subject: "s".into(), resource: "cpu".into(), seconds: 1.0, usd: 0.0 };
    let missing = 256 * 3 + 5 - world.doors.ledger.size().unwrap();
    world.doors.ledger.append((0..missing).map(|_| fact(&spent)).collect()).await.unwrap();
    let checkpoint = world.get("/log/checkpoint").await.ok();
    let mut lines = checkpoint.text().lines();
    assert_eq!((lines.next(), lines.next()), (Some("acme"), Some("773")));
    let root = lines.next().unwrap();

    let mut leaves = Vec::new();
    for (number, width) in [(0, 256), (1, 256), (2, 256), (3, 5)] {
        let tile = hashes(&world, &tiles::tile_path(0, number, width)).await;
        let bundle = world.get(&format!("/log/{}", tiles::bundle_path(number, width))).await.ok();
        let entries: Vec<Digest> = tiles::entries(&bundle.bytes).unwrap().into_iter().map(merkle::leaf_hash).collect();
        assert_eq!(entries, tile, "tile {number}");
        leaves.extend(tile);
    }
    let above = hashes(&world, "tile/1/000.p/3").await;
    let expected: Vec<Digest> = leaves.chunks_exact(256).map(merkle::root_of).collect();
    assert_eq!(above, expected, "also the last, beside which nothing complete stands");
    let proof = world.doors.ledger.inclusion(0).unwrap();
    assert_eq!(proof.checkpoint.lines().nth(2), Some(root));
    assert_eq!(merkle::root_of(&leaves), world.doors.ledger.verify(|_, _| ()).unwrap().root);
    assert_eq!(hashes(&world, "tile/0/003.p/2").await, leaves[768..770], "a narrower view of the last tile");
    for gone in
        ["tile/0/003", "tile/0/003.p/6", "tile/0/004.p/1", "tile/1/000", "tile/1/000.p/4", "tile/2/000.p/1", "tile/0/3"]
    {
        assert_eq!(world.get(&format!("/log/{gone}")).await.error().0, 404, "{gone}");
    }
    assert_eq!(world.get("/log/key").await.ok().text(), format!("{}\n", world.doors.ledger.verifier_key()));
}
