# Runs PROGRAM with its fault planted, which must fail and be reported as REPORT, and without, which must pass in silence.
execute_process(COMMAND ${PROGRAM} fault RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(status EQUAL 0 OR NOT said MATCHES "${REPORT}")
  message(FATAL_ERROR "${PROGRAM} fault: expected a report of '${REPORT}', got status ${status} and:\n${said}")
endif()
execute_process(COMMAND ${PROGRAM} twin RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(NOT status EQUAL 0 OR NOT said STREQUAL "")
  message(FATAL_ERROR "${PROGRAM} twin: expected silence, got status ${status} and:\n${said}")
endif()
