//! What counts as a change, and what a list that runs ahead of the watch may do.

use portolan_api::crd::{IPAddressPoolSpec, IPAddressPoolStatus};
use portolan_api::view::{Endpoint, Ingress, Service};

use super::*;

fn mk_model() -> Model {
    Model::new("me")
}

fn mk_start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn mk_service(uid: &str, version: u64, ip: Option<&str>) -> Service {
    let mut service = Service::default();
    service.metadata.namespace = Some("shop".to_owned());
    service.metadata.name = Some("web".to_owned());
    service.metadata.uid = Some(uid.to_owned());
    service.metadata.resource_version = Some(version.to_string());
    service.spec.kind = Some("LoadBalancer".to_owned());
    let ingress = |ip: &str| Ingress {
        ip: Some(ip.to_owned()),
        ..Ingress::default()
    };
    service.status.load_balancer.ingress = ip.map(ingress).into_iter().collect();
    service
}

fn mk_list<T>(version: u64, items: Vec<T>) -> Listed<T> {
    Listed {
        items,
        version: Some(version.to_string()),
    }
}

fn mk_pool(version: u64) -> IPAddressPool {
    let spec = IPAddressPoolSpec {
        addresses: vec!["10.0.0.0/24".to_owned()],
        ..IPAddressPoolSpec::default()
    };
    let mut pool = IPAddressPool::new("p", spec);
    pool.metadata.resource_version = Some(version.to_string());
    pool
}

fn see(model: &mut Model, service: Service) {
    model.apply(Event::Service(Change::Apply(service)), mk_start());
}

fn key() -> ObjectKey {
    ObjectKey::new("shop", "web")
}

/// The addresses that the model knows of the Service.
fn known(model: &Model) -> Option<Vec<IpAddr>> {
    let id = model.services.id(&key())?;
    Some(model.services.get(id)?.service.as_ref()?.vips())
}

#[test]
fn nothing_is_complete_until_every_watch_has_reported() {
    let mut model = mk_model();
    let now = mk_start();
    assert_eq!(
        model.apply(Event::Service(Change::Synced), now),
        Some(Watch::Services)
    );
    assert_eq!(model.apply(Event::Service(Change::Synced), now), None);
    assert!(!model.is_synced());
}

#[test]
fn an_older_event_does_not_undo_what_a_fresh_list_has_told() {
    let mut model = mk_model();
    see(&mut model, mk_service("1", 5, None));
    let listed = Snapshot {
        services: mk_list(9, vec![mk_service("1", 9, Some("10.0.0.1"))]),
        ..Snapshot::default()
    };
    model.refresh(listed);
    see(&mut model, mk_service("1", 7, None));
    assert_eq!(known(&model).map(|ips| ips.len()), Some(1));
}

#[test]
fn the_deletion_of_a_predecessor_does_not_delete_a_service_that_a_list_has_told_of() {
    let mut model = mk_model();
    see(&mut model, mk_service("old", 5, Some("10.0.0.1")));
    let old = model.services.id(&key());
    let listed = Snapshot {
        services: mk_list(9, vec![mk_service("new", 9, Some("10.0.0.2"))]),
        ..Snapshot::default()
    };
    model.refresh(listed);
    assert_ne!(
        model.services.id(&key()),
        old,
        "another UID is another Service"
    );
    let gone = || Event::Service(Change::Delete(("shop".to_owned(), "web".to_owned())));
    model.apply(gone(), mk_start());
    assert!(known(&model).is_some(), "that was its predecessor");
    see(&mut model, mk_service("new", 9, Some("10.0.0.2")));
    model.apply(gone(), mk_start());
    assert!(known(&model).is_none(), "and this is its own");
}

#[test]
fn what_a_fresh_list_lacks_is_gone() {
    let mut model = mk_model();
    see(&mut model, mk_service("1", 5, None));
    model.apply(Event::Pool(Change::Apply(mk_pool(3))), mk_start());
    let empty = Snapshot {
        services: mk_list(9, Vec::new()),
        pools: mk_list(9, Vec::new()),
        ..Snapshot::default()
    };
    model.refresh(empty);
    assert!(known(&model).is_none());
    assert!(model.sources.pools.is_empty());
}

#[test]
fn what_the_watch_told_of_after_the_list_was_made_stays() {
    let mut model = mk_model();
    model.prepare_refresh();
    see(&mut model, mk_service("1", 12, None));
    model.apply(Event::Pool(Change::Apply(mk_pool(13))), mk_start());
    let empty = Snapshot {
        services: mk_list(9, Vec::new()),
        pools: mk_list(9, Vec::new()),
        ..Snapshot::default()
    };
    model.refresh(empty);
    assert!(known(&model).is_some(), "created while the list was read");
    assert_eq!(model.sources.pools.len(), 1);
}

#[test]
fn what_was_deleted_while_the_list_was_read_does_not_come_back() {
    let mut model = mk_model();
    see(&mut model, mk_service("1", 5, None));
    model.prepare_refresh();
    let gone = ("shop".to_owned(), "web".to_owned());
    model.apply(Event::Service(Change::Delete(gone)), mk_start());
    let listed = Snapshot {
        services: mk_list(9, vec![mk_service("1", 5, None)]),
        ..Snapshot::default()
    };
    model.refresh(listed);
    assert!(known(&model).is_none());
}

#[test]
fn a_late_event_of_a_predecessor_does_not_replace_a_service() {
    let mut model = mk_model();
    let listed = Snapshot {
        services: mk_list(9, vec![mk_service("new", 8, Some("10.0.0.2"))]),
        ..Snapshot::default()
    };
    model.refresh(listed);
    see(&mut model, mk_service("old", 5, None));
    assert_eq!(known(&model).map(|ips| ips.len()), Some(1));
}

#[test]
fn a_service_that_only_a_list_knew_is_gone_when_the_watch_has_listed_twice_without_it() {
    let mut model = mk_model();
    let listed = Snapshot {
        services: mk_list(9, vec![mk_service("1", 8, None)]),
        ..Snapshot::default()
    };
    model.refresh(listed);
    model.apply(Event::Service(Change::Synced), mk_start());
    assert!(
        known(&model).is_some(),
        "that list may have been an older one"
    );
    model.apply(Event::Service(Change::Synced), mk_start());
    assert!(known(&model).is_none());
}

#[test]
fn a_new_status_of_a_pool_is_no_reason_to_compile() {
    let mut model = mk_model();
    model.apply(Event::Pool(Change::Apply(mk_pool(3))), mk_start());
    assert!(std::mem::take(&mut model.dirty.config));
    let mut counted = mk_pool(4);
    counted.status = Some(IPAddressPoolStatus::default());
    model.apply(Event::Pool(Change::Apply(counted)), mk_start());
    assert!(!model.dirty.config);
    let mut edited = mk_pool(5);
    edited.spec.auto_assign = true;
    model.apply(Event::Pool(Change::Apply(edited)), mk_start());
    assert!(model.dirty.config);
}

#[test]
fn services_without_a_load_balancer_are_kept_as_stubs() {
    let mut model = mk_model();
    let mut service = mk_service("1", 5, None);
    service.spec.kind = Some("ClusterIP".to_owned());
    see(&mut model, service);
    let id = model.services.id(&key()).unwrap();
    assert!(model.services.get(id).unwrap().service.is_none());
}

#[test]
fn only_a_change_of_nodes_makes_a_slice_interesting() {
    let mut model = mk_model();
    see(&mut model, mk_service("1", 5, None));
    let slice = |endpoints: usize| {
        let mut slice = EndpointSlice::default();
        slice.metadata.name = Some("web-1".to_owned());
        slice.metadata.namespace = Some("shop".to_owned());
        let label = portolan_api::annotation::SERVICE_NAME.to_owned();
        slice.metadata.labels = Some(BTreeMap::from([(label, "web".to_owned())]));
        let endpoint = Endpoint {
            node_name: Some("a".to_owned()),
            ..Endpoint::default()
        };
        slice.endpoints = vec![endpoint; endpoints];
        Event::Slice(Change::Apply(slice))
    };
    for (endpoints, interesting) in [(1, true), (5, false), (0, true), (0, false)] {
        model.dirty.services.clear();
        model.apply(slice(endpoints), mk_start());
        assert_eq!(
            !model.dirty.services.is_empty(),
            interesting,
            "{endpoints} endpoints"
        );
    }
    assert!(!model.endpoints.any(&key()));
}

#[test]
fn an_object_that_can_be_read_again_is_not_unreadable_any_more() {
    let mut model = mk_model();
    let key = (String::new(), "p".to_owned());
    model.apply(Event::Pool(Change::Apply(mk_pool(3))), mk_start());
    let unreadable = Change::Unreadable(key, "no idea".to_owned());
    model.apply(Event::Pool(unreadable), mk_start());
    assert_eq!(model.sources.unreadable.len(), 1);
    model.dirty.config = false;
    model.apply(Event::Pool(Change::Apply(mk_pool(4))), mk_start());
    assert!(model.sources.unreadable.is_empty());
    assert!(model.dirty.config);
}

#[test]
fn what_is_deleted_is_remembered_only_while_somebody_reads() {
    let mut model = mk_model();
    let gone = || Event::Service(Change::Delete(("shop".to_owned(), "web".to_owned())));
    let remembered = |model: &Model| model.buried.as_ref().map_or(0, HashSet::len);
    see(&mut model, mk_service("1", 5, None));
    model.apply(gone(), mk_start());
    assert_eq!(remembered(&model), 0);
    model.prepare_refresh();
    see(&mut model, mk_service("2", 6, None));
    model.apply(gone(), mk_start());
    assert_eq!(remembered(&model), 1);
    model.refresh(Snapshot::default());
    see(&mut model, mk_service("3", 7, None));
    model.apply(gone(), mk_start());
    assert_eq!(remembered(&model), 0);
}

#[test]
fn a_list_does_not_undo_what_the_watch_has_told_of_a_namespace_since() {
    let mk_namespace = |version: u64, tier: &str| {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("shop".to_owned());
        namespace.metadata.uid = Some("shop-1".to_owned());
        namespace.metadata.resource_version = Some(version.to_string());
        let label = ("tier".to_owned(), tier.to_owned());
        namespace.metadata.labels = Some(BTreeMap::from([label]));
        namespace
    };
    let listed = || Snapshot {
        namespaces: mk_list(9, vec![mk_namespace(5, "tin")]),
        ..Snapshot::default()
    };
    let mut model = mk_model();
    let new = Event::Namespace(Change::Apply(mk_namespace(12, "gold")));
    model.apply(new, mk_start());
    model.refresh(listed());
    assert_eq!(model.namespaces["shop"].labels["tier"], "gold");
    model.prepare_refresh();
    let gone = (String::new(), "shop".to_owned());
    model.apply(Event::Namespace(Change::Delete(gone)), mk_start());
    model.refresh(listed());
    assert!(model.namespaces.is_empty(), "deleted while it was read");
}

/// A Service that is called otherwise.
fn mk_other(uid: &str, version: u64) -> Service {
    let mut service = mk_service(uid, version, None);
    service.metadata.name = Some("other".to_owned());
    service
}

#[test]
fn what_came_in_a_page_is_not_missed_by_the_end_of_the_reading() {
    let mut model = mk_model();
    see(&mut model, mk_service("1", 5, None));
    see(&mut model, mk_other("2", 5));
    model.prepare_refresh();
    let page = vec![mk_service("1", 7, Some("10.0.0.1"))];
    model.apply(Event::Page(page), mk_start());
    assert_eq!(known(&model).unwrap().len(), 1, "a page counts at once");
    let end = || Snapshot {
        services: mk_list(9, Vec::new()),
        ..Snapshot::default()
    };
    model.refresh(end());
    assert!(model.services.id(&key()).is_some(), "the page had it");
    let other = ObjectKey::new("shop", "other");
    assert!(model.services.id(&other).is_none(), "no page had it");

    // What a page of an earlier reading had says nothing about the next one.
    model.prepare_refresh();
    model.refresh(end());
    assert!(model.services.id(&key()).is_none(), "gone since");
}

#[test]
fn what_was_deleted_meanwhile_does_not_come_back_with_a_page() {
    let mut model = mk_model();
    see(&mut model, mk_service("1", 5, None));
    model.prepare_refresh();
    let gone = Change::Delete(("shop".to_owned(), "web".to_owned()));
    model.apply(Event::Service(gone), mk_start());
    let page = || Event::Page(vec![mk_service("1", 5, None)]);
    model.apply(page(), mk_start());
    assert!(model.services.id(&key()).is_none());
    model.refresh(Snapshot::default());
    model.apply(page(), mk_start());
    assert!(
        model.services.id(&key()).is_none(),
        "nobody waits for this page"
    );
}
