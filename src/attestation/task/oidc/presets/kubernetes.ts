import type { OidcPreset } from "../preset.ts";

/**
 * Tokens that a Kubernetes cluster projects into pods: Tekton, Argo Workflows and every other job that runs as a pod. A
 * token is good to its `exp` even when its pod is gone, so it must be bound to a pod and short-lived: ask for at most 30
 * minutes with `expirationSeconds`. Names can be given again; UIDs cannot.
 */
export const kubernetes: OidcPreset = {
  name: "kubernetes",
  title: "Kubernetes service accounts",
  selectorType: "k8s",
  issuers: [{ pattern: /^https:\/\/[^/]+(?:\/.*)?$/, example: "https://CLUSTER-ISSUER", shared: false }],
  commonAudiences: [
    /^https:\/\/kubernetes\.default\.svc(?:\.|$)/,
    /^pods\.eks\.amazonaws\.com$/,
    /^sts\.amazonaws\.com$/,
    /^spire-server$/,
  ],
  claims: [
    { claim: "sub", name: "subject", required: true },
    { claim: ["kubernetes.io", "namespace"], name: "namespace", selector: "ns", required: true },
    {
      claim: ["kubernetes.io", "serviceaccount", "name"],
      name: "service_account",
      selector: "sa",
      required: true,
    },
    {
      claim: ["kubernetes.io", "serviceaccount", "uid"],
      name: "service_account_uid",
      kind: "uuid",
      selector: "sa-uid",
      required: true,
    },
    { claim: ["kubernetes.io", "pod", "name"], name: "pod_name", authored: true },
    {
      claim: ["kubernetes.io", "pod", "uid"],
      name: "pod_uid",
      kind: "uuid",
      selector: "pod-uid",
      required: true,
    },
    { claim: ["kubernetes.io", "node", "name"], name: "node_name", selector: "node-name" },
    { claim: ["kubernetes.io", "node", "uid"], name: "node_uid", kind: "uuid", selector: "node-uid" },
  ],
  derived: [
    {
      name: "subject_fits",
      from: (claim) =>
        String(
          claim("subject") ===
            `system:serviceaccount:${claim("namespace") ?? ""}:${claim("service_account") ?? ""}`,
        ),
    },
  ],
  tenantIds: ["service_account_uid"],
  runNames: { job: ["pod_uid"] },
  refused: [{ claim: "subject_fits", except: ["true"], why: "sub is not that of the service account" }],
  maxTokenAge: 1800,
  maxTokenLifetime: 1800,
  description: "pod {namespace}/{pod_name} {pod_uid} as {service_account}",
  sample: {
    issuer: "https://oidc.cluster.example.com",
    claims: {
      sub: "system:serviceaccount:ci:builder",
      "kubernetes.io": {
        namespace: "ci",
        node: { name: "node-1", uid: "5a1f0c52-5f6b-4d2f-8a51-0000000000a1" },
        pod: { name: "build-shop-7xk2p", uid: "5a1f0c52-5f6b-4d2f-8a51-0000000000a2" },
        serviceaccount: { name: "builder", uid: "5a1f0c52-5f6b-4d2f-8a51-0000000000a3" },
        warnafter: 1_790_000_600,
      },
    },
  },
};
