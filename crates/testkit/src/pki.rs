//! One certificate authority per control plane.

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn generate() -> Result<Self> {
        let key = KeyPair::generate().context("generate the CA's key")?;
        let pem = key.serialize_pem();
        let certificate = CertifiedIssuer::self_signed(ca_params()?, key)
            .context("sign the CA")?
            .pem();
        Self::load(certificate, &pem)
    }

    /// One that was generated earlier, from its certificate and key as PEM.
    pub(crate) fn load(certificate: String, key: &str) -> Result<Self> {
        let key = KeyPair::from_pem(key).context("parse the CA's key")?;
        // All our CAs have one name, so the certificate need not be parsed for it.
        let issuer = Issuer::new(ca_params()?, key);
        Ok(Self {
            issuer,
            certificate,
        })
    }

    pub(crate) fn certificate(&self) -> String {
        self.certificate.clone()
    }

    pub(crate) fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A serving certificate for these names and addresses.
    pub(crate) fn serving(&self, name: &str, hosts: &[&str]) -> Result<Pair> {
        self.sign(
            params(name, None, hosts)?,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// A client certificate: to the API server its common name is the user, its organisation a group.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Pair> {
        self.sign(
            params(user, group, &[])?,
            ExtendedKeyUsagePurpose::ClientAuth,
        )
    }

    /// The same for one that has been invalid since 2001.
    pub(crate) fn expired_client(&self, user: &str, group: Option<&str>) -> Result<Pair> {
        let mut params = params(user, group, &[])?;
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Pair> {
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().context("generate a key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .context("sign a certificate")?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// The key pair that signs ServiceAccount tokens: private and public PEM.
pub(crate) fn service_account_keys() -> Result<(String, String)> {
    let key = KeyPair::generate().context("generate the ServiceAccount key")?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

fn ca_params() -> Result<CertificateParams> {
    let mut params = params("refloat-testkit", None, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(name: &str, group: Option<&str>, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).context("certificate names")?;
    let mut subject = DistinguishedName::new();
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    Ok(params)
}
