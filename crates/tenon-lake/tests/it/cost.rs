use std::path::Path;

use tenon_core::AsOf;

use crate::fixture::{Company, flights};

/// Beyond some hundred commits there are table checkpoints, so that opening a table does not read every entry.
#[tokio::test]
async fn many_commits_leave_table_checkpoints_and_every_version_stays_readable() {
    let mut company = Company::new().await;
    for commit in 0..220 {
        let id = commit.to_string();
        company.committed("flights", &id, flights(&[(&id, None, Some(1)), ("bad", None, Some(999))])).await;
    }
    company.reopen().await;
    for version in [0, 98, 99, 100, 199, 219] {
        let rows = company.number("SELECT count(*) FROM flights", AsOf::Version(version)).await;
        assert_eq!(rows, version as i64 + 1);
    }
    let checkpoints = |folder: &Path| {
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        files.filter(|name| name.ends_with(".checkpoint.parquet")).count()
    };
    let lake = company.folder.path().join("lake");
    assert_eq!(checkpoints(&lake.join("flights/_delta_log")), 2);
}
