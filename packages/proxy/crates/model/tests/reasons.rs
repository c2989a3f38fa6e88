//! docs/reference/reasons.md lists every reason with what callers get, in order.

use plait_model::Reason;

#[test]
fn the_page_lists_every_reason_with_its_statuses() {
    let page = include_str!("../../../../../docs/reference/reasons.md");
    let listed = page.lines().filter(|line| line.starts_with("| `"));
    let told: Vec<String> = listed.map(|line| line.split('|').skip(1).take(3).map(str::trim).collect::<Vec<_>>().join(" ")).collect();
    let known = Reason::ALL.map(|reason| format!("`{}` {} {}", reason.as_str(), reason.status(), reason.grpc_status()));
    assert_eq!(told, known);
}
