#ifndef BF_WORKER_WIRE_MODAL_FIELDS_H
#define BF_WORKER_WIRE_MODAL_FIELDS_H

/*
 * The fields of Modal's api.proto that we write or read, and their numbers:
 * message, field, number, type. tests/python/test_modal_fields.py holds them
 * to the descriptors of the newest client that the tests know.
 */

/* clang-format off */
#define BF_MODAL_FIELDS(X)                                                     \
    X(AuthTokenGetResponse, token, 1, STRING)                                  \
    X(FunctionGetRequest, app_name, 1, STRING)                                 \
    X(FunctionGetRequest, object_tag, 2, STRING)                               \
    X(FunctionGetRequest, environment_name, 4, STRING)                         \
    X(FunctionGetResponse, function_id, 1, STRING)                             \
    X(FunctionGetResponse, handle_metadata, 2, MESSAGE)                        \
    X(FunctionGetResponse, function, 5, MESSAGE)                               \
    X(FunctionHandleMetadata, class_parameter_info, 43, MESSAGE)               \
    X(FunctionHandleMetadata, method_handle_metadata, 44, MESSAGE)             \
    X(FunctionHandleMetadata, input_plane_url, 46, STRING)                     \
    X(FunctionHandleMetadata, max_object_size_bytes, 48, UINT64)               \
    X(FunctionHandleMetadata, supported_input_formats, 50, ENUM)               \
    X(FunctionHandleMetadata, supported_output_formats, 51, ENUM)              \
    X(FunctionHandleMetadata, max_async_object_size_bytes, 53, UINT64)         \
    X(ClassParameterInfo, format, 1, ENUM)                                     \
    X(ClassParameterInfo, schema, 2, MESSAGE)                                  \
    X(ClassParameterSpec, name, 1, STRING)                                     \
    X(ClassParameterSpec, type, 2, ENUM)                                       \
    X(ClassParameterSpec, has_default, 3, BOOL)                                \
    X(ClassParameterSet, parameters, 1, MESSAGE)                               \
    X(ClassParameterValue, name, 1, STRING)                                    \
    X(ClassParameterValue, type, 2, ENUM)                                      \
    X(ClassParameterValue, string_value, 3, STRING)                            \
    X(FunctionData, ranked_functions, 18, MESSAGE)                             \
    X(FunctionData_RankedFunction, function, 2, MESSAGE)                       \
    X(Function, resources, 9, MESSAGE)                                         \
    X(Resources, memory_mb, 2, UINT32)                                         \
    X(Resources, milli_cpu, 3, UINT32)                                         \
    X(FunctionBindParamsRequest, function_id, 1, STRING)                       \
    X(FunctionBindParamsRequest, serialized_params, 2, BYTES)                  \
    X(FunctionBindParamsRequest, function_options, 3, MESSAGE)                 \
    X(FunctionBindParamsRequest, environment_name, 4, STRING)                  \
    X(FunctionBindParamsResponse, bound_function_id, 1, STRING)                \
    X(FunctionBindParamsResponse, handle_metadata, 2, MESSAGE)                 \
    X(FunctionMapRequest, function_id, 1, STRING)                              \
    X(FunctionMapRequest, function_call_type, 4, ENUM)                         \
    X(FunctionMapRequest, pipelined_inputs, 5, MESSAGE)                        \
    X(FunctionMapRequest, function_call_invocation_type, 6, ENUM)              \
    X(FunctionPutInputsItem, input, 2, MESSAGE)                                \
    X(FunctionInput, args, 1, BYTES)                                           \
    X(FunctionInput, args_blob_id, 7, STRING)                                  \
    X(FunctionInput, data_format, 10, ENUM)                                    \
    X(FunctionInput, method_name, 11, STRING)                                  \
    X(FunctionMapResponse, function_call_id, 1, STRING)                        \
    X(FunctionMapResponse, pipelined_inputs, 2, MESSAGE)                       \
    X(FunctionPutInputsResponseItem, input_id, 2, STRING)                      \
    X(FunctionGetOutputsRequest, function_call_id, 1, STRING)                  \
    X(FunctionGetOutputsRequest, timeout, 3, FLOAT)                            \
    X(FunctionGetOutputsRequest, last_entry_id, 6, STRING)                     \
    X(FunctionGetOutputsRequest, clear_on_success, 7, BOOL)                    \
    X(FunctionGetOutputsRequest, requested_at, 8, DOUBLE)                      \
    X(FunctionGetOutputsRequest, start_idx, 10, INT32)                         \
    X(FunctionGetOutputsRequest, end_idx, 11, INT32)                           \
    X(FunctionGetOutputsResponse, outputs, 4, MESSAGE)                         \
    X(FunctionGetOutputsResponse, num_unfinished_inputs, 6, INT32)             \
    X(FunctionGetOutputsItem, result, 1, MESSAGE)                              \
    X(FunctionGetOutputsItem, input_id, 3, STRING)                             \
    X(FunctionGetOutputsItem, data_format, 5, ENUM)                            \
    X(FunctionGetOutputsItem, task_id, 6, STRING)                              \
    X(FunctionGetOutputsItem, input_started_at, 7, DOUBLE)                     \
    X(FunctionGetOutputsItem, output_created_at, 8, DOUBLE)                    \
    X(GenericResult, status, 1, ENUM)                                          \
    X(GenericResult, exception, 2, STRING)                                     \
    X(GenericResult, data, 5, BYTES)                                           \
    X(GenericResult, data_blob_id, 10, STRING)                                 \
    X(FunctionCallCancelRequest, function_call_id, 1, STRING)                  \
    X(BlobCreateRequest, content_md5, 1, STRING)                               \
    X(BlobCreateRequest, content_sha256_base64, 2, STRING)                     \
    X(BlobCreateRequest, content_length, 3, INT64)                             \
    X(BlobCreateResponse, upload_url, 1, STRING)                               \
    X(BlobCreateResponse, blob_id, 2, STRING)                                  \
    X(BlobCreateResponse, blob_ids, 4, STRING)                                 \
    X(BlobCreateResponse, upload_urls, 5, MESSAGE)                             \
    X(UploadUrlList, items, 1, STRING)                                         \
    X(BlobGetRequest, blob_id, 1, STRING)                                      \
    X(BlobGetResponse, download_url, 1, STRING)

/* Values of enums: enum, name without its prefix, number. */
#define BF_MODAL_VALUES(X)                                                     \
    X(DataFormat, DATA_FORMAT_CBOR, 4)                                         \
    X(ParameterType, PARAM_TYPE_STRING, 1)                                     \
    X(ClassParameterInfo_ParameterSerializationFormat,                         \
      PARAM_SERIALIZATION_FORMAT_PROTO, 2)                                     \
    X(FunctionCallType, FUNCTION_CALL_TYPE_UNARY, 1)                           \
    X(FunctionCallInvocationType, FUNCTION_CALL_INVOCATION_TYPE_ASYNC, 3)      \
    X(FunctionCallInvocationType, FUNCTION_CALL_INVOCATION_TYPE_SYNC, 4)       \
    X(GenericResult_GenericStatus, GENERIC_STATUS_UNSPECIFIED, 0)              \
    X(GenericResult_GenericStatus, GENERIC_STATUS_SUCCESS, 1)                  \
    X(GenericResult_GenericStatus, GENERIC_STATUS_FAILURE, 2)                  \
    X(GenericResult_GenericStatus, GENERIC_STATUS_TERMINATED, 3)               \
    X(GenericResult_GenericStatus, GENERIC_STATUS_TIMEOUT, 4)                  \
    X(GenericResult_GenericStatus, GENERIC_STATUS_INIT_FAILURE, 5)             \
    X(GenericResult_GenericStatus, GENERIC_STATUS_INTERNAL_FAILURE, 6)         \
    X(GenericResult_GenericStatus, GENERIC_STATUS_IDLE_TIMEOUT, 7)             \
    X(GenericResult_GenericStatus, GENERIC_STATUS_MEMORY_MANAGER_EVICTION, 8)  \
    X(GenericResult_GenericStatus, GENERIC_STATUS_MEMORY_THRASHING_EVICTION,   \
      9)                                                                       \
    X(GenericResult_GenericStatus, GENERIC_STATUS_KERNEL_OOM_KILL, 10)
/* clang-format on */

#define BF_MODAL_FIELD_(message, field, number, type)                          \
    message##_##field = (number),
#define BF_MODAL_VALUE_(name, value, number) value = (number),

enum { BF_MODAL_FIELDS(BF_MODAL_FIELD_) };
enum { BF_MODAL_VALUES(BF_MODAL_VALUE_) };

#undef BF_MODAL_FIELD_
#undef BF_MODAL_VALUE_

#endif
