//! What the mirror takes for a pod. A process of its own, because resident memory is measured.

#[test]
fn a_pod_takes_less_than_a_kilobyte() {
    let measured = kubernetes::bench::measure(20_000).unwrap();
    println!(
        "{} pods of {} bytes JSON: {} bytes resident each",
        measured.pods, measured.json_bytes, measured.rss_bytes_per_pod
    );
    assert_eq!(measured.snapshot.pods().len(), 20_000);
    assert!(
        measured.json_bytes > 7_000,
        "{measured:?}",
        measured = measured.json_bytes
    );
    assert!(
        measured.rss_bytes_per_pod < 1_024,
        "{}",
        measured.rss_bytes_per_pod
    );
}
