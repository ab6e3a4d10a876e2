/**
 * server/web — the server over HTTP and JSON: health, metrics, OIDC discovery, the own bundle, and the operator API.
 *
 * Must never know how a caller connected, nor how a change is made; it reads requests and writes answers.
 * Called by the server's composition, once for the web port and once for the admin socket.
 */
import type { HttpApp, HttpAppOptions } from "../../http/http-app.ts";
import { createHttpApp } from "../../http/http-app.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { type AgentRoutesOptions, agentRoutes } from "./agent-routes.ts";
import { type BundleRoutesOptions, bundleRoutes, trustBundleRoutes } from "./bundle-routes.ts";
import { type DecisionRoutesOptions, decisionRoutes } from "./decision-routes.ts";
import { type EntryRoutesOptions, entryRoutes } from "./entry-routes.ts";
import { type FederationRoutesOptions, federationRoutes } from "./federation-routes.ts";
import { type HealthRoutesOptions, healthRoutes } from "./health-routes.ts";
import { requireHost } from "./host-check.ts";
import { type JoinTokenRoutesOptions, joinTokenRoutes } from "./join-token-routes.ts";
import { type MetricsRoutesOptions, metricsRoutes } from "./metrics-routes.ts";
import { type OidcRoutesOptions, oidcRoutes } from "./oidc-routes.ts";
import { type RevocationRoutesOptions, revocationRoutes } from "./revocation-routes.ts";
import { documentWithSecurity, type GuardedRoute, WEB_API } from "./openapi.ts";
import type { OAuth } from "../oauth/oauth.ts";
import type { JobExplanationOptions } from "../../issuance/tasks/explain-job.ts";
import type { TaskExplanationOptions } from "../../issuance/tasks/explain-task.ts";
import { operatorGuard, type OperatorGuardOptions } from "./operator-guard.ts";
import { type RevocationListOptions, revocationListRoutes } from "../revocation/revocation-list-routes.ts";
import { dryRunRoutes } from "../tasks/dry-run-routes.ts";
import { explainTaskRoutes } from "../tasks/explain-task-routes.ts";
import { type TaskOperatorOptions, taskOperatorRoutes } from "../tasks/task-operator-routes.ts";
import { type TaskApiOptions, taskApiRoutes } from "../tasks/task-routes.ts";
import { type TaskWebhookOptions, taskWebhookRoutes } from "../tasks/webhook-routes.ts";

/** What the web face needs, each part for the routes that declare it. */
export interface WebAppOptions
  extends Pick<HttpAppOptions, "clock" | "log" | "requestId" | "limits" | "closeGrace">,
    OperatorGuardOptions,
    HealthRoutesOptions,
    MetricsRoutesOptions,
    OidcRoutesOptions,
    EntryRoutesOptions,
    AgentRoutesOptions,
    BundleRoutesOptions,
    FederationRoutesOptions,
    JoinTokenRoutesOptions,
    DecisionRoutesOptions,
    RevocationRoutesOptions,
    TaskOperatorOptions {
  /**
   * Which door the connections come through: `web` is the TLS port, `admin` the admin socket, where only requests to
   * the name `localhost` are answered, lest a forwarded socket be reached from a web page.
   */
  readonly face: "web" | "admin";
  /** What is public of revocation; absent on the admin socket. */
  readonly lists?: RevocationListOptions["lists"] | undefined;
  readonly taskExplanation: TaskExplanationOptions & JobExplanationOptions;
  /** The OAuth endpoints; absent on the admin socket, and without an issuer. */
  readonly oauth?: Pick<OAuth, "addRoutes"> | undefined;
  /** The task API; absent on the admin socket, and where no task can be opened. */
  readonly taskApi?: TaskApiOptions | undefined;
  /** What platforms send; absent on the admin socket, and without task attestors. */
  readonly taskWebhooks?: TaskWebhookOptions | undefined;
  readonly registry: EntryRoutesOptions["registry"] & AgentRoutesOptions["registry"];
  readonly operations: EntryRoutesOptions["operations"] &
    AgentRoutesOptions["operations"] &
    BundleRoutesOptions["operations"] &
    JoinTokenRoutesOptions["operations"];
}

/** Makes the server's web application; it listens nowhere and serves the connections that it is handed. */
export async function buildWebApp(options: WebAppOptions): Promise<HttpApp> {
  const { clock, log, requestId, limits, closeGrace } = options;
  const app = await createHttpApp({
    clock,
    log,
    requestId,
    ...(limits !== undefined && { limits }),
    ...(closeGrace !== undefined && { closeGrace }),
    transport: { kind: "handed-over" },
    openapi: WEB_API,
  });
  const guard = operatorGuard(options);
  const { routes } = app;
  // JSON is the only body that is read: what a page can send elsewhere without asking first is refused.
  routes.removeContentTypeParser("text/plain");
  if (options.face === "admin") {
    routes.addHook("onRequest", async ({ headers }) => requireHost(headers.host, ADMIN_NAMES));
  }
  healthRoutes(routes, options, guard);
  metricsRoutes(routes, options, guard);
  oidcRoutes(routes, options);
  trustBundleRoutes(routes, options);
  const guarded: GuardedRoute[] = [];
  const openapi = async () => documentWithSecurity(await app.openapi(), guarded);
  routes.get("/v1/openapi.json", { schema: { hide: true } }, openapi);
  await routes.register(async (plain) => {
    const operator: HttpRoutes = plain.withTypeProvider();
    operator.addHook("onRequest", async (request) => guard.admit(request));
    operator.addHook("onRoute", ({ method, url }) => {
      for (const name of [method].flat()) guarded.push({ method: name, url, scheme: "adminSvid" });
    });
    entryRoutes(operator, options, guard);
    agentRoutes(operator, options, guard);
    joinTokenRoutes(operator, options, guard);
    decisionRoutes(operator, options);
    federationRoutes(operator, options, guard);
    taskOperatorRoutes(operator, options, guard);
    revocationRoutes(operator, options, guard);
    explainTaskRoutes(operator, options.taskExplanation);
    dryRunRoutes(operator, options.taskExplanation);
    // In a scope of its own, since it reads bodies as bytes.
    await operator.register(async (scope) => bundleRoutes(scope.withTypeProvider(), options, guard));
  });
  const { lists, oauth, taskApi, taskWebhooks } = options;
  if (lists !== undefined) revocationListRoutes(routes, { lists });
  oauth?.addRoutes(routes, guard);
  if (taskApi !== undefined) {
    // Also below the issuer's path, where its metadata says that it is.
    const below = options.oidc?.issuer === undefined ? "" : new URL(options.oidc.issuer).pathname;
    for (const prefix of new Set(["", below.replace(/\/$/, "")])) {
      await routes.register(
        async (plain) => {
          const tasks: HttpRoutes = plain.withTypeProvider();
          tasks.addHook("onRoute", (route) => {
            if (prefix !== "") route.schema = { ...route.schema, hide: true };
            for (const name of [route.method].flat()) {
              guarded.push({ method: name, url: route.url, scheme: "taskToken" });
            }
          });
          taskApiRoutes(tasks, taskApi);
        },
        { prefix },
      );
    }
  }
  if (taskWebhooks !== undefined) {
    await routes.register(async (scope) => taskWebhookRoutes(scope.withTypeProvider(), taskWebhooks));
  }
  return { ...app, openapi };
}

const ADMIN_NAMES: ReadonlySet<string> = new Set(["localhost"]);
