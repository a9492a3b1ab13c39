//! The document that is checked in is the one the types make.

use std::path::Path;

#[test]
fn the_checked_in_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let made = format!("{:#}\n", api::document());
    if std::env::var_os("UPDATE_OPENAPI").is_some_and(|value| value == "1") {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == kept,
        "docs/openapi.json is stale: run UPDATE_OPENAPI=1 cargo test -p api --test openapi"
    );
}

#[test]
fn operation_ids_and_paths_are_unique() {
    let mut ids = std::collections::BTreeSet::new();
    for route in api::ROUTES {
        assert!(ids.insert(route.id), "{}", route.id);
    }
    let paths = api::document()["paths"].as_object().unwrap().len();
    assert_eq!(paths, api::ROUTES.len());
}
