# The folder of this job's task, which hooks/command makes and hooks/pre-exit removes: the id is the agent's, unique, and
# holds nothing but hexadecimal digits and hyphens.
job_folder() {
  local id=${BUILDKITE_JOB_ID:?BUILDKITE_JOB_ID is not set}
  case $id in
    *[!0-9A-Za-z-]*)
      echo "assay task: BUILDKITE_JOB_ID is no UUID" >&2
      return 2
      ;;
  esac
  printf '%s/assay-buildkite-%s\n' "${TMPDIR:-/tmp}" "$id"
}
