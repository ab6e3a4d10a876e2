# HCP Terraform and Terraform Enterprise, on agents of your own whose image has assay. The platform gives each phase of a
# run one token, and it can be shown once: one program of the configuration does what needs the identity.

# In the workspace that manages workspaces: the token's audience.
resource "tfe_variable" "assay_audience" {
  workspace_id = tfe_workspace.production.id
  category     = "env"
  key          = "TFC_WORKLOAD_IDENTITY_AUDIENCE"
  value        = "https://assay.example.org"
}

# In the workspace itself: a program that prints an object of strings (JSON), as the provider "external" wants it.
data "external" "database" {
  program = [
    "assay", "task", "run", "--server", "https://assay.example.org", "--hide-platform-token", "--",
    "bash", "-eo", "pipefail", "${path.module}/read-database.sh",
  ]
}
