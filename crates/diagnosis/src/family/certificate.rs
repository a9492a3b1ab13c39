//! Certificates: who does not trust whom. The words of Go's crypto/x509 are the same on all sides, so that the writer of the
//! line and the direction of the connection decide: who verifies refuses the *other's* certificate; who is told
//! `remote error` has its *own* refused.

use super::{Know, know};
use crate::Action::*;
use crate::engine::{Context, Drafts, put};
use crate::facts::{Facts, Hint};
use crate::line::Unit;
use crate::rule::{Rule, hints, shows};
use crate::{Cause, Confidence, Family, Probe, Why};

/// Kubelet as a client of the API server.
const TO_APISERVER: &str = "failed to list *v1|failed to watch *v1|lease|register node|node status|\
        error getting node|/api/v1/|/apis/|csinode|certificatesigningrequests|:6443|\
        request certificate|unable to write event|unable to connect to the server|\
        kube-apiserver|failed to get node";

/// A certificate whose authority or name the verifying side does not accept (x509 `UnknownAuthorityError`,
/// `HostnameError`, `CertificateInvalidError`).
const REFUSED: &str = "certificate signed by unknown authority|x509: certificate is valid for|\
        certificate is not valid for any names|doesn't contain any ip sans|\
        cannot validate certificate for|relies on legacy common name|\
        certificate is not authorized to sign|specifies an incompatible key usage|\
        not authorized for an extended key usage|certificate is not trusted|\
        self signed certificate in certificate chain|self-signed certificate in certificate chain|\
        unable to get local issuer certificate";

const EXPIRED: &str = "certificate has expired|certificate is expired|certificate expired";

/// Other servers, sides that verify a client, and kubectl, whose kubeconfig is a person's.
const OTHERS: &str = "webhook|registry|pull|image|/v2/|helm|verifying certificate sn|\
        unable to authenticate|client's certificate|client certificate|metrics.k8s.io|\
        handshake error from|remote error|unable to connect to the server";

pub(super) const RULES: &[Rule] = &[
    // Kubelet verifies the server: the CA it trusts, or the server's certificate, is at fault.
    shows(Cause::KubeletCaMismatch, &[TO_APISERVER, REFUSED])
        .by(&[Unit::Kubelet])
        .but(OTHERS),
    shows(
        Cause::KubeletCaMismatch,
        &[
            "unable to load client ca file|unable to load root certificates|\
        unable to parse bytes as pem block|error reading certificate-authority",
            "ca.crt|ca.pem|certificate-authority|root|pem",
        ],
    )
    .by(&[Unit::Kubelet])
    .medium(),
    // Whoever verifies a server of the control plane finds it expired.
    shows(Cause::ControlPlaneCertExpired, &[TO_APISERVER, EXPIRED]).but(
        "is before|part of the existing|currently active|kubelet-client|webhook|registry|pull|\
        image|/v2/|helm|verifying certificate sn|unable to authenticate|client's certificate|\
        client certificate|metrics.k8s.io|remote error",
    ),
    // etcd and its peers: both sides are the control plane.
    shows(
        Cause::ControlPlaneCertExpired,
        &[
            "rejected connection|authentication handshake failed|prober detected unhealthy|:2379|\
        :2380|etcdserver|rafthttp",
            "certificate has expired|tls: expired certificate|certificate is expired",
        ],
    )
    .but("is before"),
    // kubeadm certs check-expiration, and logs of the components that stop for it.
    shows(
        Cause::ControlPlaneCertExpired,
        &[
            "apiserver.crt|apiserver-kubelet-client|apiserver-etcd-client|front-proxy-client|\
        etcd/server.crt|etcd/peer.crt|controller-manager.conf|scheduler.conf|admin.conf",
            "expired|<invalid>",
        ],
    )
    .but("is before"),
    // Kubelet's own: bootstrap.go and transport.go name the file or say that it is the client's.
    shows(
        Cause::KubeletCertExpired,
        &[
            "part of the existing bootstrap client certificate|currently active client certificate|\
        kubelet-client-current.pem|kubelet-client|client certificate|clientcertificate",
            "is expired|has expired|expired:| expired",
        ],
    )
    .but("is before|apiserver-kubelet-client|apiserver-etcd-client|front-proxy-client|etcd"),
    // The other side says so of ours.
    shows(
        Cause::KubeletCertExpired,
        &["remote error: tls: expired certificate|tls: certificate expired"],
    )
    .but("handshake error from|rejected connection|:2379|:2380"),
    // authentication.go of the API server: some client's certificate; which one it does not say.
    shows(
        Cause::KubeletCertExpired,
        &[
            "unable to authenticate the request|verifying certificate sn",
            EXPIRED,
        ],
    )
    .but("is before")
    .medium(),
    // Nobody can tell from these whose certificate it is.
    hints(Hint::SomeCertExpired, &[EXPIRED]).but("is before|webhook|registry|pull|helm|image|/v2/"),
    hints(
        Hint::SomeCertExpired,
        &[
            "unable to load bootstrap kubeconfig",
            "no such file or directory",
        ],
    ),
    // 401, and the same in the words of TLS where the server verifies its clients.
    shows(
        Cause::KubeletUnauthorized,
        &[
            "failed to list *v1|failed to watch *v1|lease|register node|node status|\
        error getting node|unable to write event|csinode|\
        kubernetes.io/kube-apiserver-client-kubelet",
            "unauthorized|asked for the client to provide credentials|system:anonymous",
        ],
    )
    .but("pull|image|registry"),
    shows(
        Cause::KubeletUnauthorized,
        &[
            TO_APISERVER,
            "remote error: tls: bad certificate|remote error: tls: unknown certificate|\
        remote error: tls: certificate required|remote error: tls: access denied",
        ],
    )
    .but("webhook|registry|handshake error from"),
    shows(
        Cause::KubeletUnauthorized,
        &["unable to authenticate the request|client certificate was not recognized"],
    )
    .by(&[Unit::Other])
    .but("expired|is before"),
];

pub(super) fn about(cause: Cause) -> Option<Know> {
    const F: Family = Family::Kubelet;
    const RESTART_LOOPS: &[(crate::Action, Why)] = &[
        (RestartKubelet, Why::CrashLoop),
        (DrainReboot, Why::ComesBack),
    ];
    Some(match cause {
        Cause::KubeletCertExpired => know(F, 6, RenewCert)
            .next(&[RestartKubelet])
            .probes(&[
                Probe::Clock,
                Probe::CertificateDates,
                Probe::ServerCertificate,
            ])
            .harm(RESTART_LOOPS),
        // kube-prometheus warns seven days before.
        Cause::KubeletCertExpiring => know(F, 1, RenewCert)
            .probes(&[Probe::Clock, Probe::CertificateDates])
            .harm(&[(RestartKubelet, Why::NotTheCause)]),
        Cause::KubeletUnauthorized => know(F, 5, RenewCert)
            .next(&[RestartKubelet])
            .probes(&[Probe::Clock, Probe::CertificateDates])
            .harm(&[
                (RestartKubelet, Why::ComesBack),
                (DrainReboot, Why::ComesBack),
            ]),
        // No CSR can be sent to a server that is not trusted, so that a new credential of kubelet's cannot help.
        Cause::KubeletCaMismatch => know(F, 6, FixConfig)
            .next(&[RestartKubelet])
            .probes(&[Probe::ServerCertificate, Probe::Clock])
            .harm(&[(RenewCert, Why::NotTheCause), (DrainReboot, Why::ComesBack)]),
        Cause::ControlPlaneCertExpired => know(F, 6, RenewCert)
            .probes(&[Probe::Clock, Probe::ServerCertificate])
            .harm(&[
                (RestartKubelet, Why::NotTheCause),
                (DrainReboot, Why::CauseElsewhere),
            ]),
        _ => return None,
    })
}

/// An expired certificate of which nothing says whose it is decides nothing.
pub(super) fn infer(facts: &Facts, _: &Context, drafts: &mut Drafts) {
    let known = [
        Cause::KubeletCertExpired,
        Cause::ControlPlaneCertExpired,
        Cause::KubeletCaMismatch,
        Cause::ClockSkew,
    ];
    if let Some(seen) = facts.hint(Hint::SomeCertExpired)
        && !known.iter().any(|cause| drafts.contains_key(cause))
    {
        let draft = put(drafts, Cause::KubeletCertExpired, seen);
        draft.undetermined = true;
        draft.confidence = Confidence::Low;
        draft.probes = Some(&[
            Probe::ServerCertificate,
            Probe::CertificateDates,
            Probe::Clock,
        ]);
    }
}
